"""The command line: parse, build, call one function, print."""
