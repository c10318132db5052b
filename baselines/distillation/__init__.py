"""Students: networks trained to take a teacher's many steps in few, one file each.

``train(teacher, chain, images, schedule, *, seed, labels, checkpoint, ...)`` returns averaged weights per step count:
    teacher       the network to distil, and the student's weights at first;
    chain         the teacher's noise levels;
    images        training images (N, *S), in [-1, 1] or as stored, uint8;
    schedule      of the training of each student;
    seed          training seed;
    labels        of the images, (N,), for a teacher that takes classes;
    checkpoint    name of a stage -> its resumption state;
what follows are the method's options, such as ``step_counts``, the steps of the students, each half the one before.

A file whose students are trained on noise that belongs to an image, and so are no posterior means under independent
noise, says ``COUPLING = "its name"``: stochastic samplers, guidance and starts but the prior are then refused on them.
"""
