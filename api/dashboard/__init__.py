"""What a person looks at in a browser: templates, ES modules and style sheets, without a build step."""
