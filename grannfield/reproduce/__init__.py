"""`grannfield reproduce`: the paper's experiment as a plan of small pieces that any machine may take a few minutes of.

Speed, training, molecular dynamics and scoring of each model are pieces with plain names. A call does those that are not done
until its time is up; what it was doing is cut off cleanly and goes on, bit for bit, in the next call, there or elsewhere. All
but scoring needs torch, NumPy, h5py and safetensors only.
"""
