"""What a person is shown of a model: pictures, tables in text, and pages that need nothing beside them."""
