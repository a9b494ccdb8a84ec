// Signed checkpoints of the audit, which nobody can change or delete before their retention is over.
// An account of its own: one with such a container cannot be failed over to another region.

param name string
param location string
param tags object
param vnetEnabled bool

@description('Copied to several zones of the region.')
param zoneRedundant bool

@description('Copied to the paired region, where the copy can be read.')
param geoRedundant bool

@description('Each checkpoint is immutable for so many days. The policy is made unlocked; locking it is for good.')
param retentionDays int

param workspaceId string

var localSku = zoneRedundant ? 'Standard_ZRS' : 'Standard_LRS'
var copiedSku = zoneRedundant ? 'Standard_RAGZRS' : 'Standard_RAGRS'
var layout = loadJsonContent('../storage.json')

module account 'br/public:avm/res/storage/storage-account:0.33.0' = {
  name: 'audit-storage'
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
      containers: [for container in layout.immutableContainers: {
        name: container
        immutabilityPolicy: {
          immutabilityPeriodSinceCreationInDays: retentionDays
        }
      }]
      diagnosticSettings: [
        {
          name: 'every-access'
          workspaceResourceId: workspaceId
          logCategoriesAndGroups: [
            {
              category: 'StorageRead'
            }
            {
              category: 'StorageWrite'
            }
            {
              category: 'StorageDelete'
            }
          ]
        }
      ]
    }
    managementPolicyRules: [
      {
        name: 'old-checkpoints'
        enabled: true
        type: 'Lifecycle'
        definition: {
          filters: {
            blobTypes: [
              'blockBlob'
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
