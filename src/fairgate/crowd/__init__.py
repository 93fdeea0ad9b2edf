"""The clients of rehearsals: real HTTP and Socket.IO, patient, and exact about what they do not know.

`http` asks once, `site` until there is an answer, `listener` keeps a live connection, `fan` behaves like a person and
writes everything down in its history. Demo and chaos bring the crowd together, each in its own way.
"""
