"""Students: networks trained to take a teacher's many steps in few, one file each."""
