// The app: Flex Consumption, Python, reached and deployed by identity alone.

param name string
param planName string
param location string
param tags object
param identityId string

@description('The container that holds the deployment package.')
param packageUrl string

@description('All app settings; none that is not here stays.')
param settings object

param instanceMemoryMB int
param maximumInstanceCount int

@description('Instances that always run for the orchestrations; 0: a run waits for a cold start.')
param alwaysReadyDurable int

@description('The subnet that the app reaches out through; empty: none.')
param subnetId string

@description('CIDR ranges that may reach the app and its deployment site. Empty: everybody, or nobody if vnetEnabled.')
param allowedAddresses array

@description('The Front Door that may reach the app; empty: none.')
param frontDoorId string

param vnetEnabled bool

@description('Instances run in several zones.')
param zoneRedundant bool

var isClosed = vnetEnabled && empty(allowedAddresses)
var isRestricted = vnetEnabled || !empty(allowedAddresses) || !empty(frontDoorId)
var durableReady = {
  name: 'durable'
  instanceCount: alwaysReadyDurable
}
var addressRules = map(range(0, length(allowedAddresses)), index => {
  name: 'allowed-${index}'
  priority: 200 + index
  action: 'Allow'
  ipAddress: allowedAddresses[index]
})
var frontDoorRule = {
  name: 'front-door'
  priority: 100
  action: 'Allow'
  tag: 'ServiceTag'
  ipAddress: 'AzureFrontDoor.Backend'
  headers: {
    'x-azure-fdid': [
      frontDoorId
    ]
  }
}

module plan 'br/public:avm/res/web/serverfarm:0.7.0' = {
  name: 'plan'
  params: {
    name: planName
    location: location
    tags: tags
    kind: 'functionapp'
    reserved: true
    skuName: 'FC1'
    zoneRedundant: zoneRedundant
  }
}

module site 'br/public:avm/res/web/site:0.24.0' = {
  name: 'site'
  params: {
    name: name
    location: location
    tags: tags
    kind: 'functionapp,linux'
    serverFarmResourceId: plan.outputs.resourceId
    managedIdentities: {
      userAssignedResourceIds: [
        identityId
      ]
    }
    keyVaultAccessIdentityResourceId: identityId
    httpsOnly: true
    clientAffinityEnabled: false
    virtualNetworkSubnetResourceId: empty(subnetId) ? null : subnetId
    publicNetworkAccess: isClosed ? 'Disabled' : 'Enabled'
    functionAppConfig: {
      runtime: {
        name: 'python'
        version: '3.13'
      }
      deployment: {
        storage: {
          type: 'blobContainer'
          value: packageUrl
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        alwaysReady: alwaysReadyDurable > 0 ? [durableReady] : []
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      http20Enabled: true
      ipSecurityRestrictions: concat(empty(frontDoorId) ? [] : [frontDoorRule], addressRules)
      ipSecurityRestrictionsDefaultAction: isRestricted ? 'Deny' : 'Allow'
      scmIpSecurityRestrictions: addressRules
      scmIpSecurityRestrictionsDefaultAction: vnetEnabled || !empty(allowedAddresses) ? 'Deny' : 'Allow'
    }
    basicPublishingCredentialsPolicies: [
      {
        name: 'ftp'
        allow: false
      }
      {
        name: 'scm'
        allow: false
      }
    ]
    configs: [
      {
        name: 'appsettings'
        properties: settings
        retainCurrentAppSettings: false
      }
    ]
  }
}

output resourceId string = site.outputs.resourceId
output name string = site.outputs.name
output hostName string = site.outputs.defaultHostname
