#!/bin/sh
# Before anything is made: what would fail after ten minutes is said now. azd gives its settings as environment.
set -eu

problems=0
problem() {
    echo "problem: $1" >&2
    problems=$((problems + 1))
}

# Azure writes "West Europe" in some answers and "westeurope" in others.
normal() {
    printf '%s' "$1" | tr '[:upper:]' '[:lower:]' | tr -d ' \r'
}

one_of() { # one_of NAME VALUE ALLOWED...
    name=$1 value=$2
    shift 2
    for allowed in "$@"; do
        if [ "$value" = "$allowed" ]; then return 0; fi
    done
    problem "$name is '$value'; it can be: $*"
}

environment=${AZURE_ENV_NAME:-}
location=$(normal "${AZURE_LOCATION:-}")
standby=$(normal "${DEPLOY_STANDBY_LOCATION:-}")
backend=${DEPLOY_DURABLE_BACKEND:-azureStorage}
vnet=${DEPLOY_VNET_ENABLED:-false}

# Names: resource groups are rg-NAME and rg-NAME-standby; everything else is named by 13 letters of a hash.
case $environment in
'') problem "there is no environment: azd env new NAME" ;;
*[!a-zA-Z0-9-]* | -* | *-) problem "the environment's name '$environment' may hold letters, digits and '-' between them" ;;
esac
if [ "${#environment}" -gt 40 ]; then
    problem "the environment's name has ${#environment} characters; names made of it hold at most 40"
fi

one_of DEPLOY_VNET_ENABLED "$vnet" true false
one_of DEPLOY_ZONE_REDUNDANT "${DEPLOY_ZONE_REDUNDANT:-false}" true false
one_of DEPLOY_FRONT_DOOR_ENABLED "${DEPLOY_FRONT_DOOR_ENABLED:-false}" true false
one_of DEPLOY_DELETION_PROTECTION "${DEPLOY_DELETION_PROTECTION:-false}" true false
one_of DEPLOY_ACTIVE_REGION "${DEPLOY_ACTIVE_REGION:-primary}" primary standby
one_of DEPLOY_DURABLE_BACKEND "$backend" azureStorage azureManaged
one_of DEPLOY_MODEL_AUTH "${DEPLOY_MODEL_AUTH:-identity}" identity key
if [ "$backend" = azureManaged ] && [ -n "$standby" ]; then
    problem "a task hub in the Durable Task Scheduler is not copied to the standby region: DEPLOY_DURABLE_BACKEND=azureStorage"
fi
if [ "$backend" = azureManaged ] && [ "$vnet" = true ]; then
    problem "the Durable Task Scheduler has a public endpoint, which DEPLOY_VNET_ENABLED forbids: DEPLOY_DURABLE_BACKEND=azureStorage"
fi
if [ -z "$standby" ] && [ "${DEPLOY_ACTIVE_REGION:-primary}" = standby ]; then
    problem "DEPLOY_ACTIVE_REGION is 'standby', but there is none: DEPLOY_STANDBY_LOCATION is empty"
fi
if [ "${DEPLOY_MODEL:-mock}" != mock ] && [ -z "${DEPLOY_MODEL_BASE_URL:-}" ]; then
    problem "DEPLOY_MODEL is '${DEPLOY_MODEL}', but DEPLOY_MODEL_BASE_URL does not say where it is asked"
fi

offers_python() { # offers_python REGION; what cannot be known is no reason to stop
    versions=$(az functionapp list-flexconsumption-runtimes --location "$1" --runtime python --query '[].version' --output tsv) || return 0
    if [ -z "$versions" ]; then return 0; fi
    printf '%s\n' "$versions" | tr -d '\r' | grep -qx '3\.13'
}

check_region() { # check_region SETTING REGION
    if ! printf '%s\n' "$regions" | grep -qx "$2"; then
        problem "$1 is '$2', where Flex Consumption is not offered; it is in: $(printf '%s' "$regions" | tr '\n' ' ')"
    elif ! offers_python "$2"; then
        problem "$1 is '$2', where Flex Consumption does not offer Python 3.13"
    fi
}

if [ -z "$location" ]; then
    problem "there is no location: azd env set AZURE_LOCATION REGION"
elif ! command -v az >/dev/null 2>&1; then
    echo "not checked: whether $location offers Flex Consumption (the Azure CLI, az, is not installed)" >&2
elif ! regions=$(az functionapp list-flexconsumption-locations --query '[].name' --output tsv) || [ -z "$regions" ]; then
    echo "not checked: whether $location offers Flex Consumption (sign in with: az login)" >&2
else
    regions=$(printf '%s' "$regions" | tr '[:upper:]' '[:lower:]' | tr -d ' \r')
    check_region AZURE_LOCATION "$location"
    if [ -n "$standby" ]; then
        check_region DEPLOY_STANDBY_LOCATION "$standby"
        paired=$(az account list-locations --query "[?name=='$location'].metadata.pairedRegion[].name" --output tsv)
        if [ "$(normal "$paired")" != "$standby" ]; then
            problem "DEPLOY_STANDBY_LOCATION is '$standby', but storage in '$location' is copied to '${paired:-no other region}'"
        fi
    fi
fi

if [ "$problems" -gt 0 ]; then
    echo "Nothing was made. Change a setting with: azd env set NAME VALUE" >&2
    exit 1
fi
echo "Checked: '$environment' can be made in ${location}${standby:+, with a standby in $standby}."
