from hypothesis import given
from hypothesis import strategies as st

from aos.functions.entity_ids import agent_entity, budget_entity
from aos.kernel.ids import LONGEST_INSTANCE_ID, fitting
from aos.kernel.messaging.step_message import step_orchestration

TEXT = st.text("abc-_.", min_size=1, max_size=150)


@given(TEXT, TEXT)
def test_a_fitting_text_is_short_enough_and_no_two_texts_meet(one: str, other: str):
    assert len(fitting(one, 80)) <= 80
    assert (fitting(one, 80) == fitting(other, 80)) == (one == other)


def test_what_fits_is_left_as_it_is():
    assert fitting("a" * 80, 80) == "a" * 80


def test_the_longest_names_give_ids_that_every_durable_engine_takes():
    longest, run = "x" * 64, "0" * 32
    ids = [
        step_orchestration(run, longest, 123, compensation=True),
        step_orchestration(run, longest, 124, compensation=True),
        str(agent_entity(longest, longest)),
        str(agent_entity(longest, longest[1:])),
        str(budget_entity(f"{longest}.run-{run}")),
        str(budget_entity(f"{longest}.all")),
    ]
    assert all(len(each) <= LONGEST_INSTANCE_ID for each in ids)
    assert len(set(ids)) == len(ids)
    assert step_orchestration(run, "pay", 1, compensation=False) == f"{run}-pay-1"
