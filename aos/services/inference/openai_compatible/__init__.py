"""Models behind any endpoint that speaks OpenAI's chat completions API.

OpenAI itself, Azure OpenAI (`/openai/v1` with a key, or an `api-version`), vLLM, Ollama. Importing
the client takes over a second: only the factory does, and only when this provider is configured.
"""
