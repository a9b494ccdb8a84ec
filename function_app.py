"""The Functions app: the blueprints registered, nothing else."""

import azure.durable_functions as df

from aos.functions import activities, entities, http, orchestrators, process, service_bus, timers

process.system()  # a setting, policy or workflow that is wrong stops the start, by name

app = df.DFApp()
for module in (orchestrators, activities, entities, service_bus, timers, http):
    app.register_functions(module.blueprint)
