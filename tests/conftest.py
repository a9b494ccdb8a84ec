"""What holds for every test."""

from hypothesis import settings

# No example has a time limit of its own: how long one takes is the machine's affair, and no test's.
settings.register_profile("aos", settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.load_profile("aos")
