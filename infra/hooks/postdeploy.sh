#!/bin/sh
# After the deployment: where AOS is, the first API key, and what to try. azd gives its outputs as environment.
set -eu
cd "$(dirname "$0")/../.."

url=$DEPLOYED_URL
echo
echo "AOS is at $url"
echo "  curl -fsS $url/health/ready"

if [ -x .venv/bin/aos ]; then aos=$PWD/.venv/bin/aos; else aos=$(command -v aos || true); fi

# As who is signed in: the deployment gave her the right to write into this table.
with_storage() {
    AOS_STORAGE=azure AOS_STORAGE_TABLES_URL="$DEPLOYED_TABLES_URL" AOS_STORAGE_BLOBS_URL="$DEPLOYED_BLOBS_URL" "$@"
}

how_to_make_a_key() {
    echo
    echo "$1 To make an API key:"
    echo "  export AOS_STORAGE=azure AOS_STORAGE_TABLES_URL=$DEPLOYED_TABLES_URL AOS_STORAGE_BLOBS_URL=$DEPLOYED_BLOBS_URL"
    echo "  aos key create NAME --role operator --role approver --role viewer"
}

# A role just given takes some minutes to be known everywhere.
list_keys() {
    tries=${DEPLOY_KEY_TRIES:-10}
    while ! keys=$(with_storage "$aos" key list --json 2>&1); do
        tries=$((tries - 1))
        if [ "$tries" -le 0 ]; then
            echo "$keys" >&2
            return 1
        fi
        sleep "${DEPLOY_KEY_PAUSE_S:-15}"
    done
}

if [ -n "${CI:-}" ]; then
    how_to_make_a_key "A key would lie in the log of this pipeline."
elif [ -z "$aos" ]; then
    how_to_make_a_key "The command aos is not installed here (make setup)."
elif ! list_keys; then
    how_to_make_a_key "The tables cannot be reached from here, or not yet."
elif printf '%s' "$keys" | tr -d ' \n\r' | grep -q '"keys":\[\]'; then
    key=$(with_storage "$aos" key create first --role operator --role approver --role viewer)
    echo
    echo "The first API key, which is shown this once:"
    echo "  $key"
fi

cat <<END

Try:
  export AOS_URL=$url AOS_KEY=aos_...
  aos run strategic-review --input apps/leadership/proposals/warehouse-automation.json --follow
  aos approve RUN board --reason "the figures hold"
  aos dossier RUN -o dossier.jsonl

docs/operations.md says how to operate it; azd down removes it.
END
