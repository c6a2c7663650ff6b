"""Every RPC as data: `channel` has the agents', `management` those of people and programs.

They are apart because an agent never loads the management API.
"""
