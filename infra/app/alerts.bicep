// Alerts on what the app itself tells, in its own metrics. docs/operations.md says what each one means and what to do.

param token string
param location string
param tags object
param applicationInsightsId string

@description('Empty: alerts are only shown.')
param actionGroupId string

var minutes = 15
var rules = [
  {
    name: 'failed-runs'
    description: 'Runs failed.'
    severity: 2
    query: 'customMetrics | where name == "runs.ended.count" and tostring(customDimensions.status) == "failed" | summarize amount = sum(valueSum)'
    operator: 'GreaterThan'
    threshold: 5
  }
  {
    name: 'orchestration-backlog'
    description: 'Doorbells are rung again: orchestrations do not answer within 20 s.'
    severity: 2
    query: 'customMetrics | where name == "doorbells.rung_again.count" | summarize amount = sum(valueSum)'
    operator: 'GreaterThan'
    threshold: 10
  }
  {
    name: 'server-errors'
    description: 'Requests were answered with 5xx.'
    severity: 2
    // The host tells of each request, and so does the app: in one operation.
    query: 'requests | where toint(resultCode) between (500 .. 599) | summarize amount = dcount(operation_Id)'
    operator: 'GreaterThan'
    threshold: 5
  }
  {
    name: 'silence'
    description: 'The sweep that runs every 20 s has not told of itself: the app is down.'
    severity: 1
    query: 'customMetrics | where name == "sweeps.count" | summarize amount = count()'
    operator: 'LessThan'
    threshold: 1
  }
]

module queryAlerts 'br/public:avm/res/insights/scheduled-query-rule:0.6.0' = [for rule in rules: {
  name: 'alert-${rule.name}'
  params: {
    name: 'aos-${rule.name}-${token}'
    location: location
    tags: tags
    alertDescription: rule.description
    severity: rule.severity
    evaluationFrequency: 'PT${minutes}M'
    windowSize: 'PT${minutes}M'
    autoMitigate: true
    scopes: [
      applicationInsightsId
    ]
    criterias: {
      allOf: [
        {
          query: rule.query
          metricMeasureColumn: 'amount'
          timeAggregation: 'Total'
          operator: rule.operator
          threshold: rule.threshold
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    actions: {
      actionGroupResourceIds: empty(actionGroupId) ? [] : [actionGroupId]
    }
  }
}]
