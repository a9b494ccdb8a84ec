#!/bin/sh
# Makes the other region the one that works: docs/operations.md has the whole drill.
#
#   infra/promote.sh planned   both regions answer: nothing is lost, and the regions swap their parts
#   infra/promote.sh forced    the active region is lost: what was not copied yet is lost with it
#
# Run it where `azd env get-values` knows the deployment; it may be run again after it broke off.
set -eu

mode=${1:-}
case $mode in
planned) force=false ;;
forced) force=true ;;
*)
    echo "usage: infra/promote.sh planned|forced" >&2
    exit 2
    ;;
esac

value() { azd env get-value "$1"; }

if [ "$(value DEPLOYED_STANDBY)" != true ]; then
    echo "There is no standby: azd env set DEPLOY_STANDBY_LOCATION REGION, then azd provision." >&2
    exit 1
fi
subscription=$(value AZURE_SUBSCRIPTION_ID)
group=$(value AZURE_RESOURCE_GROUP)
storage=$(value DEPLOYED_DATA_STORAGE)
bus=$(value DEPLOYED_SERVICE_BUS)
if [ "$(value DEPLOY_ACTIVE_REGION 2>/dev/null || echo primary)" = standby ]; then
    next=primary next_group=$group next_app=$(value DEPLOYED_APP) next_location=$(value AZURE_LOCATION)
    last_group=$(value DEPLOYED_STANDBY_RESOURCE_GROUP) last_app=$(value DEPLOYED_STANDBY_APP)
else
    next=standby next_group=$(value DEPLOYED_STANDBY_RESOURCE_GROUP) next_app=$(value DEPLOYED_STANDBY_APP)
    next_location=$(value DEPLOY_STANDBY_LOCATION) last_group=$group last_app=$(value DEPLOYED_APP)
fi
tables=$(value DEPLOYED_TABLES_URL)
blobs=$(value DEPLOYED_BLOBS_URL)
queues=$(printf '%s' "$tables" | sed 's/\.table\./.queue./')
identity=$(az functionapp config appsettings list --resource-group "$next_group" --name "$next_app" \
    --query "[?name=='AOS_IDENTITY_CLIENT_ID'].value" --output tsv)

echo "1. $last_app is stopped: two regions must never write at once."
if ! az functionapp stop --resource-group "$last_group" --name "$last_app"; then
    if [ "$mode" = planned ]; then exit 1; fi
    echo "   It does not answer. Should it come back, it finds neither the data nor the bus." >&2
fi

echo "2. The data is copied up to: $(az storage account show --resource-group "$group" --name "$storage" \
    --expand geoReplicationStats --query geoReplicationStats.lastSyncTime --output tsv)"

echo "3. The bus $bus moves to $next_location."
az rest --method post --output none \
    --url "https://management.azure.com/subscriptions/$subscription/resourceGroups/$group/providers/Microsoft.ServiceBus/namespaces/$bus/failover?api-version=2026-01-01" \
    --body "{\"properties\": {\"primaryLocation\": \"$next_location\", \"force\": $force}}"

echo "4. The storage $storage moves to $next_location; this takes up to an hour."
if [ "$mode" = planned ]; then set -- --failover-type Planned; else set --; fi
az storage account failover --resource-group "$group" --name "$storage" --yes "$@"

echo "5. $next_app works from now on."
# Its triggers come last: the app refuses to start with them while it only reads.
az functionapp config appsettings set --resource-group "$next_group" --name "$next_app" --output none \
    --settings \
    AOS_READ_ONLY=false \
    AOS_STORAGE_TABLES_URL="$tables" \
    AOS_STORAGE_BLOBS_URL="$blobs" \
    AzureFunctionsJobHost__extensions__durableTask__storageProvider__connectionName=DurableStorage \
    DurableStorage__blobServiceUri="$blobs" \
    DurableStorage__queueServiceUri="$queues" \
    DurableStorage__tableServiceUri="$tables" \
    DurableStorage__credential=managedidentity \
    DurableStorage__clientId="$identity"
az functionapp config appsettings delete --resource-group "$next_group" --name "$next_app" --output none \
    --setting-names \
    AzureWebJobs.compact_budget.Disabled \
    AzureWebJobs.end_dead_letter.Disabled \
    AzureWebJobs.ring_again.Disabled \
    AzureWebJobs.run_agent_step.Disabled
az functionapp start --resource-group "$next_group" --name "$next_app"
azd env set DEPLOY_ACTIVE_REGION "$next"

echo "Done. When both regions answer again: azd provision, which makes $last_app the one that only reads, and"
echo "azd deploy."
