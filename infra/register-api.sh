#!/bin/sh
# Registers the API in the Entra directory of who is signed in to az, so that its tokens are taken beside API keys.
#
#   infra/register-api.sh [NAME]      NAME is the registration's, by default aos
#
# It may be run again. Who runs it needs the directory role Application Administrator, or to be allowed to
# register applications.
set -eu
cd "$(dirname "$0")"

name=${1:-aos}
graph=https://graph.microsoft.com/v1.0/applications
scope=7c1b7a52-5d0e-4a53-9c58-3f1f6f0b9a04 # access_as_user, in app-api.json
az_cli=04b07795-8ddb-461a-bbee-02f9e1bf7b46

app=$(az ad app list --filter "displayName eq '$name'" --query '[].appId' --output tsv)
case $app in
'') app=$(az ad app create --display-name "$name" --sign-in-audience AzureADMyOrg --query appId --output tsv) ;;
*[!0-9a-f-]*)
    echo "More than one application is called '$name': choose another name." >&2
    exit 1
    ;;
esac
object=$(az ad app show --id "$app" --query id --output tsv)

patch() { # patch BODY
    az rest --method patch --url "$graph/$object" --headers Content-Type=application/json --body "$1"
}

# A client can be let in within a scope that is there already, and no sooner.
patch "{\"identifierUris\": [\"api://$app\"], \"appRoles\": $(cat app-roles.json), \"api\": $(cat app-api.json)}"
patch "{\"api\": {\"preAuthorizedApplications\": [{\"appId\": \"$az_cli\", \"delegatedPermissionIds\": [\"$scope\"]}]}}"

# What roles are assigned on.
holder=$(az ad sp list --filter "appId eq '$app'" --query '[].id' --output tsv)
if [ -z "$holder" ]; then holder=$(az ad sp create --id "$app" --query id --output tsv); fi

azd env set DEPLOY_AUTH_AUDIENCE "$app"

cat <<END
Registered: $name, $app. The app takes its tokens after: azd provision

A person or a group gets a role in the portal: Entra ID, Enterprise applications, $name, Users and groups.
A managed identity gets one, by the object id of its service principal, with
  az rest --method post --url https://graph.microsoft.com/v1.0/servicePrincipals/$holder/appRoleAssignedTo \\
    --body '{"principalId": "OBJECT_ID", "resourceId": "$holder", "appRoleId": "ID_IN_infra/app-roles.json"}'

A person calls with
  export AOS_KEY=\$(az account get-access-token --scope api://$app/.default --query accessToken --output tsv)
END
