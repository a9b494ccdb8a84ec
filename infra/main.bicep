// AOS in Azure: `azd up` makes all of this, by identity alone. docs/azure.md explains the choices.

targetScope = 'subscription'

@minLength(1)
@maxLength(40)
@description('Names the resource groups, and with the subscription and location everything in them.')
param environmentName string

@minLength(1)
@metadata({
  azd: {
    type: 'location'
  }
})
param location string

@description('The region paired with `location`, where a standby is kept. Empty: no standby.')
param standbyLocation string = ''

@allowed([
  'primary'
  'standby'
])
@description('The region that works. The other one only reads.')
param activeRegion string = 'primary'

@description('Everything is reached through private endpoints; nothing has a public one.')
param vnetEnabled bool = false

@description('CIDR ranges that may reach the app and its deployment site, separated by commas.')
param allowedAddresses string = ''

@description('Each copy lies in another zone, and the app runs in several: the loss of one zone stops nothing.')
param zoneRedundant bool = false

@description('One address in front of the regions, which goes to the one that is ready.')
param frontDoorEnabled bool = false

@allowed([
  'azureStorage'
  'azureManaged'
])
@description('Where orchestrations are kept: in the data storage, or by the Durable Task Scheduler.')
param durableBackend string = 'azureStorage'

@allowed([
  'Consumption'
  'Dedicated'
])
param schedulerSku string = 'Consumption'

@description('Who deploys, and makes the first API key. Empty: nobody may.')
param principalId string = ''

@allowed([
  'User'
  'ServicePrincipal'
])
param principalType string = 'User'

@description('The module whose `application` is served.')
param application string = 'apps.leadership'

param aosTenant string = 'default'

@description('The limit of all runs together, in US dollars. Empty: none.')
param tenantBudgetUsd string = ''

@description('`mock`, or the name of a model or deployment behind `modelBaseUrl`.')
param model string = 'mock'

param modelBaseUrl string = ''

@allowed([
  'identity'
  'key'
])
param modelAuth string = 'identity'

@description('Put into the vault, where the app reads it. Empty: what is in the vault stays.')
@secure()
param modelApiKey string = ''

@description('US dollars for a million tokens, for a model that AOS does not know the price of.')
param modelPriceInput string = ''

param modelPriceOutput string = ''

@description('The Azure OpenAI account that the app may ask. Empty: none.')
param openAiAccountId string = ''

@description('The audience of Entra tokens that are taken beside API keys. Empty: only API keys are.')
param authAudience string = ''

@description('Who is told of alerts and of the cost. Empty: nobody.')
param alertEmail string = ''

@description('US dollars a month, of which 80% spent and 100% forecast are told. 0: no budget.')
param monthlyBudget int = 100

@allowed([
  512
  2048
  4096
])
param instanceMemoryMB int = 2048

@minValue(1)
@maxValue(1000)
param maximumInstanceCount int = 40

@minValue(0)
@description('Instances that always run for the orchestrations; 0: a run waits for a cold start.')
param alwaysReadyDurable int = 0

@minValue(1)
@description('A signed checkpoint can be neither changed nor deleted for so many days.')
param checkpointRetentionDays int = 365

@allowed([
  30
  60
  90
])
param telemetryRetentionDays int = 30

@description('Gigabytes of telemetry a day, after which no more is taken until the next.')
param telemetryDailyQuotaGb string = '5'

@description('The share of traces that is kept, from 0 to 1; those that failed always are. Empty: all.')
param telemetryShare string = ''

@description('The vault cannot be purged for 90 days after it was deleted. Cannot be switched off again.')
param deletionProtection bool = false

var abbreviations = loadJsonContent('abbreviations.json')
var token = toLower(uniqueString(subscription().id, environmentName, location))
var standbyToken = '${token}s'
var tags = {
  'azd-env-name': environmentName
}
var hasStandby = !empty(standbyLocation)
var usesScheduler = durableBackend == 'azureManaged'
var schedulerProblem = hasStandby ? 'a task hub in the Durable Task Scheduler is not copied to the standby region: choose durableBackend azureStorage' : 'the Durable Task Scheduler has a public endpoint, which vnetEnabled forbids: choose durableBackend azureStorage'
var taskHubName = usesScheduler && (hasStandby || vnetEnabled) ? fail(schedulerProblem) : 'aos'
var primaryActive = !hasStandby || activeRegion == 'primary'
var addresses = empty(allowedAddresses) ? [] : split(replace(allowedAddresses, ' ', ''), ',')
var groupName = '${abbreviations.resourceGroup}${environmentName}'
var standbyGroupName = '${groupName}-standby'

resource group 'Microsoft.Resources/resourceGroups@2024-11-01' = {
  name: groupName
  location: location
  tags: tags
}

resource standbyGroup 'Microsoft.Resources/resourceGroups@2024-11-01' = if (hasStandby) {
  name: standbyGroupName
  location: hasStandby ? standbyLocation : location
  tags: tags
}

module monitoring 'app/monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    workspaceName: '${abbreviations.logAnalytics}${token}'
    applicationInsightsName: '${abbreviations.applicationInsights}${token}'
    privateLinkScopeName: '${abbreviations.privateLinkScope}${token}'
    location: location
    tags: tags
    retentionDays: telemetryRetentionDays
    dailyQuotaGb: telemetryDailyQuotaGb
    vnetEnabled: vnetEnabled
  }
}

module standbyMonitoring 'app/monitoring.bicep' = if (hasStandby) {
  name: 'monitoring-standby'
  scope: standbyGroup
  params: {
    workspaceName: '${abbreviations.logAnalytics}${standbyToken}'
    applicationInsightsName: '${abbreviations.applicationInsights}${standbyToken}'
    privateLinkScopeName: '${abbreviations.privateLinkScope}${standbyToken}'
    location: standbyLocation
    tags: tags
    retentionDays: telemetryRetentionDays
    dailyQuotaGb: telemetryDailyQuotaGb
    vnetEnabled: vnetEnabled
  }
}

module actionGroup 'br/public:avm/res/insights/action-group:0.8.0' = if (!empty(alertEmail)) {
  name: 'action-group'
  scope: group
  params: {
    name: '${abbreviations.actionGroup}${token}'
    groupShortName: 'aos'
    tags: tags
    emailReceivers: [
      {
        name: 'operator'
        emailAddress: alertEmail
        useCommonAlertSchema: true
      }
    ]
  }
}

module dataStorage 'app/data-storage.bicep' = {
  name: 'data'
  scope: group
  params: {
    name: '${abbreviations.dataStorage}${token}'
    location: location
    tags: tags
    vnetEnabled: vnetEnabled
    zoneRedundant: zoneRedundant
    geoRedundant: hasStandby
    workspaceId: monitoring.outputs.workspaceId
  }
}

module serviceBus 'app/service-bus.bicep' = {
  name: 'service-bus'
  scope: group
  params: {
    name: '${abbreviations.serviceBus}${token}'
    location: location
    tags: tags
    premium: vnetEnabled || hasStandby
    vnetEnabled: vnetEnabled
    standbyLocation: standbyLocation
    primaryLocation: primaryActive ? location : standbyLocation
    workspaceId: monitoring.outputs.workspaceId
  }
}

module busAlerts 'app/bus-alerts.bicep' = {
  name: 'bus-alerts'
  scope: group
  params: {
    token: token
    tags: tags
    serviceBusId: serviceBus.outputs.resourceId
    actionGroupId: empty(alertEmail) ? '' : actionGroup!.outputs.resourceId
  }
}

module keyVault 'app/key-vault.bicep' = {
  name: 'vault'
  scope: group
  params: {
    name: '${abbreviations.keyVault}${token}'
    location: location
    tags: tags
    vnetEnabled: vnetEnabled
    deletionProtection: deletionProtection
    modelApiKey: modelApiKey
    workspaceId: monitoring.outputs.workspaceId
  }
}

module scheduler 'app/durable-task.bicep' = if (usesScheduler) {
  name: 'durable-task'
  scope: group
  params: {
    name: '${abbreviations.durableTaskScheduler}${token}'
    taskHubName: taskHubName
    location: location
    tags: tags
    skuName: schedulerSku
  }
}

module operator 'app/rbac-operator.bicep' = if (!empty(principalId)) {
  name: 'roles-operator'
  scope: group
  params: {
    principalId: principalId
    principalType: principalType
    dataStorageName: dataStorage.outputs.name
  }
}

var shared = {
  resourceGroupName: groupName
  dataStorageName: dataStorage.outputs.name
  dataStorageId: dataStorage.outputs.resourceId
  dataEndpoints: dataStorage.outputs.endpoints
  serviceBusName: serviceBus.outputs.name
  serviceBusId: serviceBus.outputs.resourceId
  serviceBusHostName: serviceBus.outputs.hostName
  queueNames: serviceBus.outputs.queueNames
  keyVaultName: keyVault.outputs.name
  keyVaultId: keyVault.outputs.resourceId
  signingKeyName: keyVault.outputs.signingKeyName
  signingKeyId: keyVault.outputs.signingKeyId
  modelSecretId: keyVault.outputs.modelSecretId
  schedulerName: usesScheduler ? scheduler!.outputs.name : ''
  schedulerEndpoint: usesScheduler ? scheduler!.outputs.endpoint : ''
  taskHubName: taskHubName
  actionGroupId: empty(alertEmail) ? '' : actionGroup!.outputs.resourceId
}
var app = {
  application: application
  tenant: aosTenant
  tenantBudgetUsd: tenantBudgetUsd
  telemetryShare: telemetryShare
  model: model
  modelBaseUrl: modelBaseUrl
  modelAuth: modelAuth
  modelPriceInput: modelPriceInput
  modelPriceOutput: modelPriceOutput
  openAiAccountId: openAiAccountId
  authTenantId: tenant().tenantId
  authAudience: authAudience
  instanceMemoryMB: instanceMemoryMB
  maximumInstanceCount: maximumInstanceCount
  alwaysReadyDurable: alwaysReadyDurable
}

var primaryMonitoring = {
  workspaceId: monitoring.outputs.workspaceId
  applicationInsightsId: monitoring.outputs.applicationInsightsId
  applicationInsightsName: monitoring.outputs.applicationInsightsName
  connectionString: monitoring.outputs.connectionString
  privateLinkScopeId: monitoring.outputs.privateLinkScopeId
}
var primarySite = '${abbreviations.functionApp}${token}'
var standbySite = '${abbreviations.functionApp}${standbyToken}'
var primaryOrigin = {
  name: 'primary'
  hostName: '${primarySite}.azurewebsites.net'
  location: location
  siteId: '${subscription().id}/resourceGroups/${groupName}/providers/Microsoft.Web/sites/${primarySite}'
}
var standbyOrigin = {
  name: 'standby'
  hostName: '${standbySite}.azurewebsites.net'
  location: standbyLocation
  siteId: '${subscription().id}/resourceGroups/${standbyGroupName}/providers/Microsoft.Web/sites/${standbySite}'
}
var bothOrigins = primaryActive ? [primaryOrigin, standbyOrigin] : [standbyOrigin, primaryOrigin]
var origins = hasStandby ? bothOrigins : [primaryOrigin]

// Before the apps, which let in nobody but this Front Door.
module frontDoor 'app/front-door.bicep' = if (frontDoorEnabled && !vnetEnabled) {
  name: 'front-door-public'
  scope: group
  params: {
    name: '${abbreviations.frontDoor}${token}'
    tags: tags
    privateOrigins: false
    origins: origins
    workspaceId: monitoring.outputs.workspaceId
  }
}

var frontDoorId = frontDoorEnabled && !vnetEnabled ? frontDoor!.outputs.frontDoorId : ''

module primary 'app/region.bicep' = {
  name: 'region'
  scope: group
  params: {
    location: location
    tags: tags
    token: token
    serviceName: 'aos'
    active: primaryActive
    vnetEnabled: vnetEnabled
    addressPrefix: '10.40.0.0/16'
    zoneRedundant: zoneRedundant
    geoRedundant: hasStandby
    checkpointRetentionDays: checkpointRetentionDays
    allowedAddresses: addresses
    frontDoorId: frontDoorId
    monitoring: primaryMonitoring
    shared: shared
    app: app
  }
}

module standby 'app/region.bicep' = if (hasStandby) {
  name: 'region-standby'
  scope: standbyGroup
  params: {
    location: standbyLocation
    tags: tags
    token: standbyToken
    serviceName: 'aos-standby'
    active: !primaryActive
    vnetEnabled: vnetEnabled
    addressPrefix: '10.41.0.0/16'
    zoneRedundant: zoneRedundant
    geoRedundant: hasStandby
    checkpointRetentionDays: checkpointRetentionDays
    allowedAddresses: addresses
    frontDoorId: frontDoorId
    monitoring: {
      workspaceId: standbyMonitoring!.outputs.workspaceId
      applicationInsightsId: standbyMonitoring!.outputs.applicationInsightsId
      applicationInsightsName: standbyMonitoring!.outputs.applicationInsightsName
      connectionString: standbyMonitoring!.outputs.connectionString
      privateLinkScopeId: standbyMonitoring!.outputs.privateLinkScopeId
    }
    shared: shared
    app: app
  }
}

// After the apps, which it reaches through Private Link.
module privateFrontDoor 'app/front-door.bicep' = if (frontDoorEnabled && vnetEnabled) {
  name: 'front-door-private'
  scope: group
  params: {
    name: '${abbreviations.frontDoor}${token}'
    tags: tags
    privateOrigins: true
    origins: origins
    workspaceId: monitoring.outputs.workspaceId
  }
  dependsOn: [
    primary
    standby
  ]
}

module budget 'br/public:avm/res/consumption/budget:0.3.8' = if (!empty(alertEmail) && monthlyBudget > 0) {
  name: 'budget'
  params: {
    name: '${abbreviations.budget}${environmentName}'
    location: location
    amount: monthlyBudget
    thresholds: [
      80
    ]
    contactEmails: [
      alertEmail
    ]
    resourceGroupFilter: hasStandby ? [groupName, standbyGroupName] : [groupName]
  }
}

module forecast 'br/public:avm/res/consumption/budget:0.3.8' = if (!empty(alertEmail) && monthlyBudget > 0) {
  name: 'budget-forecast'
  params: {
    name: '${abbreviations.budget}${environmentName}-forecast'
    location: location
    amount: monthlyBudget
    thresholdType: 'Forecasted'
    thresholds: [
      100
    ]
    contactEmails: [
      alertEmail
    ]
    resourceGroupFilter: hasStandby ? [groupName, standbyGroupName] : [groupName]
  }
}

var frontDoorHostName = vnetEnabled ? privateFrontDoor.?outputs.hostName ?? '' : frontDoor.?outputs.hostName ?? ''
var activeHostName = primaryActive ? primary.outputs.hostName : standby!.outputs.hostName

output AZURE_LOCATION string = location
output AZURE_TENANT_ID string = tenant().tenantId
output AZURE_RESOURCE_GROUP string = groupName
output DEPLOYED_URL string = 'https://${frontDoorEnabled ? frontDoorHostName : activeHostName}'
output DEPLOYED_TABLES_URL string = shared.dataEndpoints.table
output DEPLOYED_BLOBS_URL string = shared.dataEndpoints.blob
output DEPLOYED_APP string = primarySite
output DEPLOYED_DATA_STORAGE string = dataStorage.outputs.name
output DEPLOYED_SERVICE_BUS string = serviceBus.outputs.name
output DEPLOYED_KEY_VAULT string = keyVault.outputs.name
output DEPLOYED_STANDBY bool = hasStandby
output DEPLOYED_STANDBY_APP string = hasStandby ? standbySite : ''
output DEPLOYED_STANDBY_RESOURCE_GROUP string = hasStandby ? standbyGroupName : ''
