//! The inputs that every fuzzing run begins with: one valid input of each kind, made from the examples of the wire's tests.
