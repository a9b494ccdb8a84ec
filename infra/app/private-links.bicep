// Private endpoints of one region, each with the DNS zones that lead to it.

param location string
param tags object
param token string
param subnetId string

@description('The DNS zones, by what is reached through them.')
param zones object

@description('What is reached: name, resourceId, groupId, and the keys of its zones.')
param links array

var prefix = loadJsonContent('../abbreviations.json').privateEndpoint

module endpoints 'br/public:avm/res/network/private-endpoint:0.12.1' = [for link in links: {
  name: 'link-${link.name}'
  params: {
    name: '${prefix}${link.name}-${token}'
    location: location
    tags: tags
    subnetResourceId: subnetId
    privateLinkServiceConnections: [
      {
        name: '${prefix}${link.name}-${token}'
        properties: {
          privateLinkServiceId: link.resourceId
          groupIds: [
            link.groupId
          ]
        }
      }
    ]
    privateDnsZoneGroup: {
      privateDnsZoneGroupConfigs: [for key in link.zones: {
        name: key
        privateDnsZoneResourceId: resourceId('Microsoft.Network/privateDnsZones', zones[key])
      }]
    }
  }
}]
