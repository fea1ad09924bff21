"""The Hub's HTTP: routes, answers, pages."""
