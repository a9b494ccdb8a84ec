// Alerts on the bus. docs/operations.md says what each one means and what to do.

param token string
param tags object
param serviceBusId string

@description('Empty: alerts are only shown.')
param actionGroupId string

var rules = [
  {
    name: 'dead-letters'
    description: 'Dead letters lie in a queue: the function that ends such steps does not run.'
    metric: 'DeadletteredMessages'
    severity: 1
    threshold: 0
  }
  {
    name: 'step-backlog'
    description: 'Steps wait in the queue longer than they are worked off.'
    metric: 'ActiveMessages'
    severity: 3
    threshold: 1000
  }
]

module metricAlerts 'br/public:avm/res/insights/metric-alert:0.4.1' = [for rule in rules: {
  name: 'alert-${rule.name}'
  params: {
    name: 'aos-${rule.name}-${token}'
    tags: tags
    alertDescription: rule.description
    severity: rule.severity
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    autoMitigate: true
    scopes: [
      serviceBusId
    ]
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allof: [
        {
          name: rule.name
          criterionType: 'StaticThresholdCriterion'
          metricNamespace: 'Microsoft.ServiceBus/namespaces'
          metricName: rule.metric
          timeAggregation: 'Average'
          operator: 'GreaterThan'
          threshold: rule.threshold
          dimensions: [
            {
              name: 'EntityName'
              operator: 'Include'
              values: [
                '*'
              ]
            }
          ]
        }
      ]
    }
    actions: empty(actionGroupId) ? [] : [actionGroupId]
  }
}]
