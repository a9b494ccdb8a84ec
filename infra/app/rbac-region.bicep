// What an app's identity may do in its own region.

param principalId string
param hostStorageName string
param auditStorageName string
param applicationInsightsName string

var roles = loadJsonContent('../roles.json')
var layout = loadJsonContent('../storage.json')
var hostRoles = [
  roles.storageBlobDataOwner
  roles.storageQueueDataContributor
  roles.storageTableDataContributor
]

resource hostStorage 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: hostStorageName
}

resource hostAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in hostRoles: {
  name: guid(hostStorage.id, principalId, role)
  scope: hostStorage
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
  }
}]

resource auditStorage 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: auditStorageName
}

resource auditBlobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' existing = {
  parent: auditStorage
  name: 'default'
}

resource auditContainers 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' existing = [for container in layout.immutableContainers: {
  parent: auditBlobs
  name: container
}]

resource auditAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (container, index) in layout.immutableContainers: {
  name: guid(auditContainers[index].id, principalId, roles.storageBlobDataContributor)
  scope: auditContainers[index]
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageBlobDataContributor)
  }
}]

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: applicationInsightsName
}

resource telemetryAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(applicationInsights.id, principalId, roles.monitoringMetricsPublisher)
  scope: applicationInsights
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.monitoringMetricsPublisher)
  }
}
