"""An application's OpenAPI document, and the page that shows it."""
