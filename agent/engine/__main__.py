"""`python -P -m agent.engine`: the embedded engine with Fluent Bit's command line."""

from agent.engine.command import main

if __name__ == "__main__":
    main()
