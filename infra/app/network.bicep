// A region's virtual network: one subnet that the app reaches out through, one for private endpoints, and the
// private DNS zones by which the names of the services lead to those endpoints.

param name string
param location string
param tags object

@description('A /16, such as 10.0.0.0/16.')
param addressPrefix string

@description('The DNS zones, by what is reached through them.')
var zones = {
  blob: 'privatelink.blob.${environment().suffixes.storage}'
  queue: 'privatelink.queue.${environment().suffixes.storage}'
  table: 'privatelink.table.${environment().suffixes.storage}'
  vault: 'privatelink.vaultcore.azure.net'
  namespace: 'privatelink.servicebus.windows.net'
  sites: 'privatelink.azurewebsites.net'
  monitor: 'privatelink.monitor.azure.com'
  oms: 'privatelink.oms.opinsights.azure.com'
  ods: 'privatelink.ods.opinsights.azure.com'
  agents: 'privatelink.agentsvc.azure-automation.net'
}

module network 'br/public:avm/res/network/virtual-network:0.10.1' = {
  name: 'virtual-network'
  params: {
    name: name
    location: location
    tags: tags
    addressPrefixes: [
      addressPrefix
    ]
    subnets: [
      {
        name: 'app'
        addressPrefix: cidrSubnet(addressPrefix, 24, 0)
        delegation: 'Microsoft.App/environments'
      }
      {
        name: 'endpoints'
        addressPrefix: cidrSubnet(addressPrefix, 24, 1)
        privateEndpointNetworkPolicies: 'Disabled'
      }
    ]
  }
}

module dnsZones 'br/public:avm/res/network/private-dns-zone:0.8.1' = [for zone in items(zones): {
  name: 'dns-${zone.key}'
  params: {
    name: zone.value
    tags: tags
    virtualNetworkLinks: [
      {
        name: 'aos'
        virtualNetworkResourceId: network.outputs.resourceId
        registrationEnabled: false
      }
    ]
  }
}]

output appSubnetId string = '${network.outputs.resourceId}/subnets/app'
output endpointSubnetId string = '${network.outputs.resourceId}/subnets/endpoints'
output zones object = zones
