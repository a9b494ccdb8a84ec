// The one address of all regions. Requests go to the region with the lower priority number that is ready.

param name string
param tags object

@description('Premium reaches apps through Private Link, which somebody has to approve on each app.')
param privateOrigins bool

@description('The regions, the active one first: name, hostName, location, siteId (with private origins).')
param origins array

param workspaceId string

var publicOrigins = map(range(0, length(origins)), index => {
  name: origins[index].name
  hostName: origins[index].hostName
  originHostHeader: origins[index].hostName
  priority: index + 1
  weight: 1000
  enabledState: 'Enabled'
  enforceCertificateNameCheck: true
  httpPort: 80
  httpsPort: 443
})
var privateLinkOrigins = map(range(0, length(origins)), index => union(publicOrigins[index], {
  sharedPrivateLinkResource: {
    groupId: 'sites'
    privateLink: {
      id: origins[index].siteId
    }
    privateLinkLocation: origins[index].location
    requestMessage: 'Front Door of AOS'
  }
}))

module profile 'br/public:avm/res/cdn/profile:0.20.0' = {
  name: 'front-door'
  params: {
    name: name
    location: 'global'
    tags: tags
    sku: privateOrigins ? 'Premium_AzureFrontDoor' : 'Standard_AzureFrontDoor'
    // A stream of events sends a heartbeat every 15 s.
    originResponseTimeoutSeconds: 240
    originGroups: [
      {
        name: 'aos'
        loadBalancingSettings: {
          sampleSize: 4
          successfulSamplesRequired: 3
          additionalLatencyInMilliseconds: 50
        }
        healthProbeSettings: {
          probePath: '/health/ready'
          probeProtocol: 'Https'
          probeRequestType: 'GET'
          probeIntervalInSeconds: 30
        }
        sessionAffinityState: 'Disabled'
        origins: privateOrigins ? privateLinkOrigins : publicOrigins
      }
    ]
    afdEndpoints: [
      {
        name: name
        enabledState: 'Enabled'
        routes: [
          {
            name: 'all'
            enabledState: 'Enabled'
            originGroupName: 'aos'
            forwardingProtocol: 'HttpsOnly'
            httpsRedirect: 'Enabled'
            linkToDefaultDomain: 'Enabled'
            patternsToMatch: [
              '/*'
            ]
            supportedProtocols: [
              'Http'
              'Https'
            ]
          }
        ]
      }
    ]
    diagnosticSettings: [
      {
        name: 'health'
        workspaceResourceId: workspaceId
        logCategoriesAndGroups: [
          {
            category: 'FrontDoorHealthProbeLog'
          }
        ]
      }
    ]
  }
}

module identifier 'front-door-id.bicep' = {
  name: 'front-door-id'
  params: {
    profileName: profile.outputs.name
  }
}

output hostName string = profile.outputs.frontDoorEndpointHostNames[0]
output frontDoorId string = identifier.outputs.frontDoorId
