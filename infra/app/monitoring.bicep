// Where logs, traces and metrics of one region go. Telemetry is taken from identities alone.

param workspaceName string
param applicationInsightsName string
param privateLinkScopeName string
param location string
param tags object
param retentionDays int
param dailyQuotaGb string

@description('With a virtual network, telemetry is taken through its private endpoint alone.')
param vnetEnabled bool

@description('Queries are answered to who has signed in and has a role, from anywhere: people read from a browser.')
var queryAccess = 'Enabled'
var ingestionAccess = vnetEnabled ? 'Disabled' : 'Enabled'

module workspace 'br/public:avm/res/operational-insights/workspace:0.16.1' = {
  name: 'workspace'
  params: {
    name: workspaceName
    location: location
    tags: tags
    dataRetention: retentionDays
    dailyQuotaGb: dailyQuotaGb
    // Otherwise log alerts would need a storage account linked to the workspace.
    forceCmkForQuery: false
    publicNetworkAccessForIngestion: ingestionAccess
    publicNetworkAccessForQuery: queryAccess
  }
}

module applicationInsights 'br/public:avm/res/insights/component:0.8.0' = {
  name: 'application-insights'
  params: {
    name: applicationInsightsName
    location: location
    tags: tags
    workspaceResourceId: workspace.outputs.resourceId
    disableLocalAuth: true
    disableIpMasking: false
    retentionInDays: retentionDays
    publicNetworkAccessForIngestion: ingestionAccess
    publicNetworkAccessForQuery: queryAccess
  }
}

module privateLinkScope 'br/public:avm/res/insights/private-link-scope:0.7.3' = if (vnetEnabled) {
  name: 'private-link-scope'
  params: {
    name: privateLinkScopeName
    tags: tags
    accessModeSettings: {
      ingestionAccessMode: 'PrivateOnly'
      queryAccessMode: 'Open'
    }
    scopedResources: [
      {
        name: 'workspace'
        linkedResourceId: workspace.outputs.resourceId
      }
      {
        name: 'application-insights'
        linkedResourceId: applicationInsights.outputs.resourceId
      }
    ]
  }
}

output workspaceId string = workspace.outputs.resourceId
output applicationInsightsId string = applicationInsights.outputs.resourceId
output applicationInsightsName string = applicationInsights.outputs.name
output connectionString string = applicationInsights.outputs.connectionString
output privateLinkScopeId string = vnetEnabled ? privateLinkScope!.outputs.resourceId : ''
