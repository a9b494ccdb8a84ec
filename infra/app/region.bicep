// One region: an app with its identity, host storage, audit storage, telemetry and network.
// The active region works; the other one only reads, from the copy of the data, until it is promoted.

import { appType, monitoringType, sharedType } from 'types.bicep'

param location string
param tags object
param token string

@description('The service of azure.yaml that is deployed here.')
param serviceName string

@description('Works, or only reads.')
param active bool

param vnetEnabled bool
param addressPrefix string
param zoneRedundant bool
param geoRedundant bool
param checkpointRetentionDays int
param allowedAddresses array
param frontDoorId string
param monitoring monitoringType
param shared sharedType
param app appType

var abbreviations = loadJsonContent('../abbreviations.json')
var functions = loadJsonContent('../functions.json')
var suffix = environment().suffixes.storage
var serviceTag = {
  'azd-service-name': serviceName
}
var usesScheduler = !empty(shared.schedulerName)

module identity 'br/public:avm/res/managed-identity/user-assigned-identity:0.6.0' = {
  name: 'identity'
  params: {
    name: '${abbreviations.identity}${token}'
    location: location
    tags: tags
  }
}

module hostStorage 'host-storage.bicep' = {
  name: 'host'
  params: {
    name: '${abbreviations.hostStorage}${token}'
    location: location
    tags: tags
    vnetEnabled: vnetEnabled
    zoneRedundant: zoneRedundant
  }
}

module auditStorage 'audit-storage.bicep' = {
  name: 'audit'
  params: {
    name: '${abbreviations.auditStorage}${token}'
    location: location
    tags: tags
    vnetEnabled: vnetEnabled
    zoneRedundant: zoneRedundant
    geoRedundant: geoRedundant
    retentionDays: checkpointRetentionDays
    workspaceId: monitoring.workspaceId
  }
}

module regionRoles 'rbac-region.bicep' = {
  name: 'roles'
  params: {
    principalId: identity.outputs.principalId
    hostStorageName: hostStorage.outputs.name
    auditStorageName: auditStorage.outputs.name
    applicationInsightsName: monitoring.applicationInsightsName
  }
}

module sharedRoles 'rbac-shared.bicep' = {
  name: 'roles-${token}'
  scope: resourceGroup(shared.resourceGroupName)
  params: {
    principalId: identity.outputs.principalId
    dataStorageName: shared.dataStorageName
    serviceBusName: shared.serviceBusName
    queueNames: shared.queueNames
    keyVaultName: shared.keyVaultName
    signingKeyName: shared.signingKeyName
    schedulerName: shared.schedulerName
  }
}

// Evaluated without an account as well.
var openAiSubscription = empty(app.openAiAccountId) ? subscription().subscriptionId : split(app.openAiAccountId, '/')[2]
var openAiResourceGroup = empty(app.openAiAccountId) ? resourceGroup().name : split(app.openAiAccountId, '/')[4]

module modelAccess 'model-access.bicep' = if (!empty(app.openAiAccountId)) {
  name: 'model-access-${token}'
  scope: resourceGroup(openAiSubscription, openAiResourceGroup)
  params: {
    principalId: identity.outputs.principalId
    accountName: last(split(app.openAiAccountId, '/'))
  }
}

module network 'network.bicep' = if (vnetEnabled) {
  name: 'network'
  params: {
    name: '${abbreviations.virtualNetwork}${token}'
    location: location
    tags: tags
    addressPrefix: addressPrefix
  }
}

var baseSettings = {
  AOS_APPLICATION: app.application
  AOS_TENANT: app.tenant
  AOS_STORAGE: 'azure'
  // A region that only reads asks the copy of the data in its own region.
  AOS_STORAGE_TABLES_URL: active ? shared.dataEndpoints.table : 'https://${shared.dataStorageName}-secondary.table.${suffix}/'
  AOS_STORAGE_BLOBS_URL: active ? shared.dataEndpoints.blob : 'https://${shared.dataStorageName}-secondary.blob.${suffix}/'
  AOS_CHECKPOINTS_URL: auditStorage.outputs.endpoints.blob
  AOS_IDENTITY_CLIENT_ID: identity.outputs.clientId
  AOS_SIGNING_KEY: shared.signingKeyId
  AOS_MODEL: app.model
  AOS_READ_ONLY: active ? 'false' : 'true'
  TASKHUB_NAME: shared.taskHubName
  AzureWebJobsStorage__blobServiceUri: hostStorage.outputs.endpoints.blob
  AzureWebJobsStorage__queueServiceUri: hostStorage.outputs.endpoints.queue
  AzureWebJobsStorage__tableServiceUri: hostStorage.outputs.endpoints.table
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identity.outputs.clientId
  ServiceBusConnection__fullyQualifiedNamespace: shared.serviceBusHostName
  ServiceBusConnection__credential: 'managedidentity'
  ServiceBusConnection__clientId: identity.outputs.clientId
  APPLICATIONINSIGHTS_CONNECTION_STRING: monitoring.connectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identity.outputs.clientId};Authorization=AAD'
}
var modelSettings = {
  AOS_MODEL_BASE_URL: app.modelBaseUrl
  AOS_MODEL_AUTH: app.modelAuth
}
var modelKeySettings = {
  AOS_MODEL_API_KEY_SECRET: shared.modelSecretId
}
var modelPriceSettings = {
  AOS_MODEL_PRICE_INPUT: app.modelPriceInput
  AOS_MODEL_PRICE_OUTPUT: app.modelPriceOutput
}
var budgetSettings = {
  AOS_TENANT_BUDGET_USD: app.tenantBudgetUsd
}
var telemetrySettings = {
  AOS_TELEMETRY_SHARE: app.telemetryShare
}
var authSettings = {
  AOS_AUTH_TENANT_ID: app.authTenantId
  AOS_AUTH_AUDIENCE: app.authAudience
  AOS_AUTH_AUTHORITY: environment().authentication.loginEndpoint
}
var storageHubSettings = {
  AzureFunctionsJobHost__extensions__durableTask__storageProvider__connectionName: 'DurableStorage'
  DurableStorage__blobServiceUri: shared.dataEndpoints.blob
  DurableStorage__queueServiceUri: shared.dataEndpoints.queue
  DurableStorage__tableServiceUri: shared.dataEndpoints.table
  DurableStorage__credential: 'managedidentity'
  DurableStorage__clientId: identity.outputs.clientId
}
var schedulerHubSettings = {
  AzureFunctionsJobHost__extensions__durableTask__storageProvider__type: 'azureManaged'
  AzureFunctionsJobHost__extensions__durableTask__storageProvider__connectionStringName: 'DURABLE_TASK_SCHEDULER_CONNECTION_STRING'
  DURABLE_TASK_SCHEDULER_CONNECTION_STRING: 'Endpoint=${shared.schedulerEndpoint};Authentication=ManagedIdentity;ClientID=${identity.outputs.clientId}'
}
// A region that only reads has an idle task hub in its own host storage, and takes no messages and no ticks.
var standbySettings = toObject(functions.stoppedOnStandby, name => 'AzureWebJobs.${name}.Disabled', name => 'true')
var hubSettings = usesScheduler ? schedulerHubSettings : storageHubSettings
var hasModel = !empty(app.modelBaseUrl)
var settings = union(
  baseSettings,
  active ? hubSettings : standbySettings,
  hasModel ? modelSettings : {},
  hasModel && app.modelAuth == 'key' ? modelKeySettings : {},
  empty(app.modelPriceInput) ? {} : modelPriceSettings,
  empty(app.tenantBudgetUsd) ? {} : budgetSettings,
  empty(app.telemetryShare) ? {} : telemetrySettings,
  empty(app.authAudience) ? {} : authSettings
)

module function 'function.bicep' = {
  name: 'function'
  params: {
    name: '${abbreviations.functionApp}${token}'
    planName: '${abbreviations.functionPlan}${token}'
    location: location
    tags: union(tags, serviceTag)
    identityId: identity.outputs.resourceId
    packageUrl: '${hostStorage.outputs.endpoints.blob}${hostStorage.outputs.packageContainer}'
    settings: settings
    instanceMemoryMB: app.instanceMemoryMB
    maximumInstanceCount: app.maximumInstanceCount
    alwaysReadyDurable: active ? app.alwaysReadyDurable : 0
    subnetId: vnetEnabled ? network!.outputs.appSubnetId : ''
    allowedAddresses: allowedAddresses
    frontDoorId: frontDoorId
    vnetEnabled: vnetEnabled
    zoneRedundant: zoneRedundant
  }
  dependsOn: [
    regionRoles
    sharedRoles
    privateLinks
  ]
}

var regionLinks = [
  {
    name: 'host-blob'
    resourceId: hostStorage.outputs.resourceId
    groupId: 'blob'
    zones: [
      'blob'
    ]
  }
  {
    name: 'host-queue'
    resourceId: hostStorage.outputs.resourceId
    groupId: 'queue'
    zones: [
      'queue'
    ]
  }
  {
    name: 'host-table'
    resourceId: hostStorage.outputs.resourceId
    groupId: 'table'
    zones: [
      'table'
    ]
  }
  {
    name: 'audit-blob'
    resourceId: auditStorage.outputs.resourceId
    groupId: 'blob'
    zones: [
      'blob'
    ]
  }
  {
    name: 'data-blob'
    resourceId: shared.dataStorageId
    groupId: 'blob'
    zones: [
      'blob'
    ]
  }
  {
    name: 'data-queue'
    resourceId: shared.dataStorageId
    groupId: 'queue'
    zones: [
      'queue'
    ]
  }
  {
    name: 'data-table'
    resourceId: shared.dataStorageId
    groupId: 'table'
    zones: [
      'table'
    ]
  }
  {
    name: 'vault'
    resourceId: shared.keyVaultId
    groupId: 'vault'
    zones: [
      'vault'
    ]
  }
  {
    name: 'bus'
    resourceId: shared.serviceBusId
    groupId: 'namespace'
    zones: [
      'namespace'
    ]
  }
  {
    name: 'monitor'
    resourceId: monitoring.privateLinkScopeId
    groupId: 'azuremonitor'
    zones: [
      'monitor'
      'oms'
      'ods'
      'agents'
      'blob'
    ]
  }
]
// The copy that a region reads while it is not active has endpoints of its own.
var copyLinks = [
  {
    name: 'copy-blob'
    resourceId: shared.dataStorageId
    groupId: 'blob_secondary'
    zones: [
      'blob'
    ]
  }
  {
    name: 'copy-table'
    resourceId: shared.dataStorageId
    groupId: 'table_secondary'
    zones: [
      'table'
    ]
  }
]

module privateLinks 'private-links.bicep' = if (vnetEnabled) {
  name: 'private-links'
  params: {
    location: location
    tags: tags
    token: token
    subnetId: network!.outputs.endpointSubnetId
    zones: network!.outputs.zones
    links: active ? regionLinks : concat(regionLinks, copyLinks)
  }
}

// After the app: an endpoint to it cannot be made before it.
module siteLink 'private-links.bicep' = if (vnetEnabled) {
  name: 'private-link-site'
  params: {
    location: location
    tags: tags
    token: token
    subnetId: network!.outputs.endpointSubnetId
    zones: network!.outputs.zones
    links: [
      {
        name: 'site'
        resourceId: function.outputs.resourceId
        groupId: 'sites'
        zones: [
          'sites'
        ]
      }
    ]
  }
}

module alerts 'alerts.bicep' = if (active) {
  name: 'alerts'
  params: {
    token: token
    location: location
    tags: tags
    applicationInsightsId: monitoring.applicationInsightsId
    actionGroupId: shared.actionGroupId
  }
}

output functionName string = function.outputs.name
output functionId string = function.outputs.resourceId
output hostName string = function.outputs.hostName
output auditStorageName string = auditStorage.outputs.name
