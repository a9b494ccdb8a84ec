"""The Functions app: the blueprints registered, nothing else."""

import azure.durable_functions as df

from aos.functions import activities, entities, http, orchestrators, service_bus, timers

app = df.DFApp()
for module in (orchestrators, activities, entities, service_bus, timers, http):
    app.register_functions(module.blueprint)
