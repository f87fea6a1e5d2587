//! Reading, writing and listing files below one folder that nothing gets out of.
