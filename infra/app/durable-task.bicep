// The Durable Task Scheduler with one task hub. By hand: there is no AVM module for it.

param name string
param taskHubName string
param location string
param tags object

@description('Consumption is billed by the action, Dedicated by the capacity unit.')
param skuName string

var dedicated = {
  name: 'Dedicated'
  capacity: 1
}
var consumption = {
  name: 'Consumption'
}

resource scheduler 'Microsoft.DurableTask/schedulers@2025-11-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    sku: skuName == 'Dedicated' ? dedicated : consumption
    // An empty list would let nobody in; who comes still needs a role.
    ipAllowlist: [
      '0.0.0.0/0'
    ]
  }
}

resource taskHub 'Microsoft.DurableTask/schedulers/taskHubs@2025-11-01' = {
  parent: scheduler
  name: taskHubName
}

output resourceId string = scheduler.id
output name string = scheduler.name
output endpoint string = scheduler.properties.endpoint
