// The storage of one app's host: its deployment package and its locks. Nothing here is worth keeping.

param name string
param location string
param tags object
param vnetEnabled bool
param zoneRedundant bool

var packageContainer = 'app-package'

module account 'br/public:avm/res/storage/storage-account:0.33.0' = {
  name: 'host-storage'
  params: {
    name: name
    location: location
    tags: tags
    kind: 'StorageV2'
    skuName: zoneRedundant ? 'Standard_ZRS' : 'Standard_LRS'
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    allowBlobPublicAccess: false
    minimumTlsVersion: 'TLS1_2'
    publicNetworkAccess: vnetEnabled ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: 'None'
      defaultAction: vnetEnabled ? 'Deny' : 'Allow'
    }
    blobServices: {
      containers: [
        {
          name: packageContainer
        }
      ]
    }
    queueServices: {}
    tableServices: {}
    managementPolicyRules: [
      {
        name: 'old-host-logs'
        enabled: true
        type: 'Lifecycle'
        definition: {
          filters: {
            blobTypes: [
              'blockBlob'
              'appendBlob'
            ]
            prefixMatch: [
              'azure-webjobs-hosts/output-logs'
            ]
          }
          actions: {
            baseBlob: {
              delete: {
                daysAfterModificationGreaterThan: 30
              }
            }
          }
        }
      }
    ]
  }
}

output resourceId string = account.outputs.resourceId
output name string = account.outputs.name
output endpoints object = account.outputs.serviceEndpoints
output packageContainer string = packageContainer
