"""Internet of Agents: agents that find each other, form nested teams and talk by the rules of a state machine."""
