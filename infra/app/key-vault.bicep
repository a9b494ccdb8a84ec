// The key that signs the audit, which never leaves the vault, and the secrets that the app is told the names of.

param name string
param location string
param tags object
param vnetEnabled bool

@description('Nobody can purge the vault before 90 days have passed. Cannot be switched off again.')
param deletionProtection bool

@description('The key of the model endpoint; empty: none is kept here, or the one that is there stays.')
@secure()
param modelApiKey string

param workspaceId string

var signingKeyName = 'audit-signing'
var modelSecretName = 'model-api-key'
var modelSecret = {
  name: modelSecretName
  value: modelApiKey
  contentType: 'text/plain'
}

module vault 'br/public:avm/res/key-vault/vault:0.14.0' = {
  name: 'key-vault'
  params: {
    name: name
    location: location
    tags: tags
    sku: 'standard'
    enableRbacAuthorization: true
    enableSoftDelete: true
    // Cannot be changed later.
    softDeleteRetentionInDays: 90
    enablePurgeProtection: deletionProtection
    enableVaultForDeployment: false
    enableVaultForDiskEncryption: false
    enableVaultForTemplateDeployment: false
    publicNetworkAccess: vnetEnabled ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: 'None'
      defaultAction: vnetEnabled ? 'Deny' : 'Allow'
    }
    keys: [
      {
        name: signingKeyName
        kty: 'EC'
        curveName: 'P-256'
        keyOps: [
          'sign'
          'verify'
        ]
        rotationPolicy: {
          attributes: {
            expiryTime: 'P2Y'
          }
          lifetimeActions: [
            {
              trigger: {
                timeAfterCreate: 'P1Y'
              }
              action: {
                type: 'rotate'
              }
            }
            {
              trigger: {
                timeBeforeExpiry: 'P30D'
              }
              action: {
                type: 'notify'
              }
            }
          ]
        }
      }
    ]
    secrets: empty(modelApiKey) ? [] : [modelSecret]
    diagnosticSettings: [
      {
        name: 'audit'
        workspaceResourceId: workspaceId
        logCategoriesAndGroups: [
          {
            categoryGroup: 'audit'
          }
        ]
      }
    ]
  }
}

output resourceId string = vault.outputs.resourceId
output name string = vault.outputs.name
output signingKeyName string = signingKeyName
output signingKeyId string = '${vault.outputs.uri}keys/${signingKeyName}'
output modelSecretId string = '${vault.outputs.uri}secrets/${modelSecretName}'
