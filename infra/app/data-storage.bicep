// The state of AOS: rows in tables, large values and logs in blobs. The task hub lies here as well, so that
// both are copied to the other region, and fail over, as one account.

param name string
param location string
param tags object
param vnetEnabled bool

@description('Copied to several zones of the region.')
param zoneRedundant bool

@description('Copied to the paired region, where the copy can be read.')
param geoRedundant bool

param workspaceId string

var localSku = zoneRedundant ? 'Standard_ZRS' : 'Standard_LRS'
var copiedSku = zoneRedundant ? 'Standard_RAGZRS' : 'Standard_RAGRS'
var layout = loadJsonContent('../storage.json')

module account 'br/public:avm/res/storage/storage-account:0.33.0' = {
  name: 'data-storage'
  params: {
    name: name
    location: location
    tags: tags
    kind: 'StorageV2'
    skuName: geoRedundant ? copiedSku : localSku
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
      deleteRetentionPolicyEnabled: true
      deleteRetentionPolicyDays: 14
      containerDeleteRetentionPolicyEnabled: true
      containerDeleteRetentionPolicyDays: 14
      containers: [for container in layout.containers: {
        name: container
      }]
      diagnosticSettings: [
        {
          name: 'deletions'
          workspaceResourceId: workspaceId
          logCategoriesAndGroups: [
            {
              category: 'StorageDelete'
            }
          ]
        }
      ]
    }
    queueServices: {}
    tableServices: {
      tables: [for table in layout.tables: {
        name: table
      }]
    }
    managementPolicyRules: [
      {
        name: 'values-of-old-runs'
        enabled: true
        type: 'Lifecycle'
        definition: {
          filters: {
            blobTypes: [
              'blockBlob'
            ]
            prefixMatch: [
              'values/'
            ]
          }
          actions: {
            baseBlob: {
              tierToCool: {
                daysAfterModificationGreaterThan: 90
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
