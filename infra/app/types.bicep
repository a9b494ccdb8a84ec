// What the regions of a deployment are told.

@export()
@description('What all regions share. Without a scheduler its name and endpoint are empty, as is the action group without an email.')
type sharedType = {
  resourceGroupName: string
  dataStorageName: string
  dataStorageId: string
  dataEndpoints: object
  serviceBusName: string
  serviceBusId: string
  serviceBusHostName: string
  queueNames: array
  keyVaultName: string
  keyVaultId: string
  signingKeyName: string
  signingKeyId: string
  modelSecretId: string
  schedulerName: string
  schedulerEndpoint: string
  taskHubName: string
  actionGroupId: string
}

@export()
@description('What an operator chose of the app.')
type appType = {
  application: string
  tenant: string
  tenantBudgetUsd: string
  telemetryShare: string
  model: string
  modelBaseUrl: string
  modelAuth: string
  modelPriceInput: string
  modelPriceOutput: string
  openAiAccountId: string
  authTenantId: string
  authAudience: string
  instanceMemoryMB: int
  maximumInstanceCount: int
  alwaysReadyDurable: int
}

@export()
@description('Where the telemetry of a region goes. Without a virtual network the private link scope is empty.')
type monitoringType = {
  workspaceId: string
  applicationInsightsId: string
  applicationInsightsName: string
  connectionString: string
  privateLinkScopeId: string
}
