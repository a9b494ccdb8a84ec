// The id by which an app knows its own Front Door; it can be read only when the profile has been made.

param profileName string

resource profile 'Microsoft.Cdn/profiles@2025-06-01' existing = {
  name: profileName
}

output frontDoorId string = profile.properties.frontDoorId
