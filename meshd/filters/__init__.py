"""One file a policy: from documents to steps of a chain. Independent siblings, pure."""
