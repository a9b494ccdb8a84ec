// The bus and every queue of servicebus.json, the file that the local broker reads as well.
// By hand, as the AVM module has no parameter for geo-replication.

param name string
param location string
param tags object

@description('Standard is the least with duplicate detection; private endpoints and geo-replication need Premium.')
param premium bool

param vnetEnabled bool

@description('Where the bus is replicated to; empty: nowhere. Given, it needs Premium.')
param standbyLocation string

@description('Which of the two regions serves; the other one follows.')
param primaryLocation string

param workspaceId string

var topology = loadJsonContent('../servicebus.json').UserConfig.Namespaces[0]
var skuName = premium ? 'Premium' : 'Standard'
var sku = {
  name: skuName
  tier: skuName
}
var premiumSku = {
  capacity: 1
}
var replication = {
  geoDataReplication: {
    maxReplicationLagDurationInSeconds: 300
    locations: [
      {
        locationName: location
        roleType: primaryLocation == location ? 'Primary' : 'Secondary'
      }
      {
        locationName: standbyLocation
        roleType: primaryLocation == location ? 'Secondary' : 'Primary'
      }
    ]
  }
}
var access = {
  disableLocalAuth: true
  minimumTlsVersion: '1.2'
  publicNetworkAccess: vnetEnabled ? 'Disabled' : 'Enabled'
}

resource bus 'Microsoft.ServiceBus/namespaces@2026-01-01' = {
  name: name
  location: location
  tags: tags
  sku: premium ? union(sku, premiumSku) : sku
  properties: empty(standbyLocation) ? access : union(access, replication)
}

resource queues 'Microsoft.ServiceBus/namespaces/queues@2026-01-01' = [for queue in topology.Queues: {
  parent: bus
  name: queue.Name
  properties: {
    deadLetteringOnMessageExpiration: queue.Properties.DeadLetteringOnMessageExpiration
    defaultMessageTimeToLive: queue.Properties.DefaultMessageTimeToLive
    duplicateDetectionHistoryTimeWindow: queue.Properties.DuplicateDetectionHistoryTimeWindow
    lockDuration: queue.Properties.LockDuration
    maxDeliveryCount: queue.Properties.MaxDeliveryCount
    requiresDuplicateDetection: queue.Properties.RequiresDuplicateDetection
    requiresSession: queue.Properties.RequiresSession
  }
}]

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'operations'
  scope: bus
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'OperationalLogs'
        enabled: true
      }
    ]
  }
}

output resourceId string = bus.id
output name string = bus.name
// Without the cloud's suffix written down: 'https://NAME.SUFFIX:443/' is what the namespace says of itself.
output hostName string = split(split(bus.properties.serviceBusEndpoint, '://')[1], ':')[0]
output queueNames array = map(topology.Queues, queue => queue.Name)
