//! Who may do what: logins, reach, shares, and executions whose user loses its standing.
