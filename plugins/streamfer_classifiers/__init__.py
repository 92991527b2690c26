"""The classifiers that ship with streamfer. Each registers exactly as a third party's would."""
