"""Writers of VASP's files and LAMMPS dumps, line for line as those programs lay them out, for the readers to be tested on."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import numpy as np

from grannfield.units import BOLTZMANN, symbol

NELM = 40


def blocks(z):
    """[(element, number)] of atoms that stand together."""
    return [(symbol(int(key)), len(list(group))) for key, group in groupby(z)]


def _rows(values, style="{:16.8f}", indent="   "):
    return "\n".join(f"{indent}<v>{''.join(style.format(x) for x in row)} </v>" for row in values)


def _structure(name, cell, fractional, indent=" "):
    head = f'{indent}<structure name="{name}" >' if name else f"{indent}<structure>"
    return f"""{head}
{indent} <crystal>
{indent}  <varray name="basis" >
{_rows(cell)}
{indent}  </varray>
{indent}  <i name="volume"> {abs(np.linalg.det(cell)):16.8f} </i>
{indent}  <varray name="rec_basis" >
{_rows(np.linalg.inv(cell).T)}
{indent}  </varray>
{indent} </crystal>
{indent} <varray name="positions" >
{_rows(fractional)}
{indent} </varray>
{indent}</structure>"""


def _head(run, potim, ibrion):
    kinds = blocks(run.z)
    atoms = "\n".join(f"    <rc><c>{symbol(int(a)):2s}</c><c>{1 + _type(run.z, i):4d}</c></rc>" for i, a in enumerate(run.z))
    types = "\n".join(
        f"    <rc><c>{count:4d}</c><c>{name:2s}</c><c>      1.00000000</c><c>      1.00000000</c>"
        f"<c>  PAW_PBE {name} 08Apr2002                   </c></rc>"
        for name, count in kinds
    )
    return f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <generator>
  <i name="program" type="string">vasp </i>
  <i name="version" type="string">6.3.0  </i>
  <i name="subversion" type="string">20Jan22 (build Apr 09 2022 18:33:31) complex            parallel </i>
  <i name="platform" type="string">LinuxIFC </i>
  <i name="date" type="string">2025 07 07 </i>
  <i name="time" type="string">11:37:14 </i>
 </generator>
 <incar>
  <i type="int" name="IBRION">     {ibrion}</i>
  <i name="POTIM">      {potim:.8f}</i>
 </incar>
 <kpoints>
  <generation param="Gamma">
   <v type="int" name="divisions">       1        1        1 </v>
   <v name="usershift">      0.00000000       0.00000000       0.00000000 </v>
   <v name="genvec1">      1.00000000       0.00000000       0.00000000 </v>
   <v name="genvec2">      0.00000000       1.00000000       0.00000000 </v>
   <v name="genvec3">      0.00000000       0.00000000       1.00000000 </v>
   <v name="shift">      0.00000000       0.00000000       0.00000000 </v>
  </generation>
  <varray name="kpointlist" >
   <v>       0.00000000       0.00000000       0.00000000 </v>
  </varray>
  <varray name="weights" >
   <v>       1.00000000 </v>
  </varray>
 </kpoints>
 <parameters>
  <separator name="general" >
   <i type="string" name="SYSTEM">unknown system</i>
  </separator>
  <separator name="electronic" >
   <i type="int" name="ISPIN">     1</i>
   <i name="EDIFF">      0.00000100</i>
   <separator name="electronic convergence" >
    <i type="int" name="NELM">    {NELM}</i>
    <i type="int" name="NELMIN">     4</i>
   </separator>
  </separator>
  <separator name="ionic" >
   <i type="int" name="NSW">    {run.n_frames}</i>
   <i type="int" name="IBRION">     {ibrion}</i>
   <i name="POTIM">      {potim:.8f}</i>
  </separator>
  <separator name="ionic md" >
   <i name="TEBEG">   1000.00000000</i>
   <i name="TEEND">   1000.00000000</i>
   <i type="int" name="NBLOCK">     1</i>
  </separator>
  <separator name="response functions" >
   <i type="int" name="NELM">     1</i>
  </separator>
 </parameters>
 <atominfo>
  <atoms>{len(run.z):8d} </atoms>
  <types>{len(kinds):8d} </types>
  <array name="atoms" >
   <dimension dim="1">ion</dimension>
   <field type="string">element</field>
   <field type="int">atomtype</field>
   <set>
{atoms}
   </set>
  </array>
  <array name="atomtypes" >
   <dimension dim="1">type</dimension>
   <field type="int">atomspertype</field>
   <field type="string">element</field>
   <field>mass</field>
   <field>valence</field>
   <field type="string">pseudopotential</field>
   <set>
{types}
   </set>
  </array>
 </atominfo>
"""


def _type(z, index):
    return [kind for kind, (_, count) in enumerate(blocks(z)) for _ in range(count)][index]


def write_vasprun(path: Path, run, potim=10.0, ibrion=0, electronic=None, kinetic=None, entropy=0.05, whole=True):
    """A vasprun.xml of a trajectory. `electronic`: steps of the electronic loop by frame; `entropy`: of the electrons, eV."""
    fractional = (run.pos @ np.linalg.inv(run.cell)) % 1.0
    parts = [_head(run, potim, ibrion), _structure("initialpos", run.cell[0], fractional[0]), "\n"]
    for f in range(run.n_frames):
        free = run.energy[f]
        scf = (electronic or {}).get(f, 3)
        steps = "\n".join(
            f"""  <scstep>
   <time name="dav">    0.09    0.09</time>
   <energy>
    <i name="e_fr_energy">{free + 2.0 ** -(k + 4):16.8f} </i>
    <i name="e_wo_entrp">{free + entropy:16.8f} </i>
    <i name="e_0_energy">{free + entropy / 2:16.8f} </i>
   </energy>
  </scstep>"""
            for k in range(scf)
        )
        motion = ""
        if ibrion == 0:
            freedom = 3 * (len(run.z) - 1)
            energy = BOLTZMANN * freedom / 2 * (kinetic if kinetic is not None else 1000.0)
            motion = f"""
   <i name="kinetic">{energy:16.8f} </i>
   <i name="lattice kinetic">{0.0:16.8f} </i>
   <i name="nosepot">{0.0:16.8f} </i>
   <i name="nosekinetic">{0.0:16.8f} </i>
   <i name="total">{free + energy:16.8f} </i>"""
        parts.append(f""" <calculation>
{steps}
{_structure("", run.cell[f], fractional[f], "  ")}
  <varray name="forces" >
{_rows(run.forces[f])}
  </varray>
  <varray name="stress" >
{_rows(np.zeros((3, 3)))}
  </varray>
  <energy>
   <i name="e_fr_energy">{free:16.8f} </i>
   <i name="e_wo_entrp">{free + entropy:16.8f} </i>
   <i name="e_0_energy">{-entropy:16.8f} </i>{motion}
  </energy>
  <time name="totalsc">   65.02   65.10</time>
 </calculation>
""")
    if whole:
        parts += [_structure("finalpos", run.cell[-1], fractional[-1]), "\n</modeling>\n"]
    path.write_text("".join(parts), encoding="latin-1")
    return path


def outcar_head(run, potim=10.0, ibrion=0, nwrite=2):
    kinds = blocks(run.z)
    listed = "\n".join(f" POTCAR:    PAW_PBE {name}_sv 08Apr2002                   " for name, _ in kinds)
    potentials = "\n".join(
        f""" POTCAR:    PAW_PBE {name}_sv 08Apr2002
   VRHFIN ={name}: s2p3
   TITEL  = PAW_PBE {name}_sv 08Apr2002
"""
        for name, _ in kinds
    )  # fmt: skip
    return f""" vasp.6.3.0 20Jan22 (build Apr 09 2022 18:33:31) complex

 executed on             LinuxIFC date 2025.07.07  11:37:14
 running on   64 total cores

 INCAR:
   NELM = {NELM}
{listed}
{potentials}
                                     Primitive cell

  volume of cell :     554.8625

  direct lattice vectors                    reciprocal lattice vectors
     5.871982203  0.000000000  0.000000000     0.170300244  0.000000000  0.000000000
     0.000000000 10.165611494  0.000000000     0.000000000  0.098370865  0.000000000
     0.000000000  0.000000000  9.295380000     0.000000000  0.000000000  0.107580325

   number of dos      NEDOS =    301   number of ions     NIONS ={len(run.z):7d}
   ions per type =            {"".join(f"{count:4d}" for _, count in kinds)}
 Startparameter for this run:
   NWRITE =      {nwrite}    write-flag & timer
   NELM   =    {NELM:3d};   NELMIN=  4; NELMDL= -5     # of ELM steps
   EDIFF  = 0.1E-05   stopping-criterion for ELM
   NBLOCK =      1;   KBLOCK =      1    inner block; outer block
   IBRION ={ibrion:7d}    ionic relax: 0-MD 1-quasi-New 2-CG
   POTIM  ={potim:7.4f}    time-step for ionic-motion
   TEIN   = 1000.0    initial temperature
   TEBEG  = 1000.0;   TEEND  =1000.0 temperature during run
"""


def outcar_step(run, f, electronic=3, learned=False, converged=True, temperature=1000.0, entropy=0.05):
    """One ionic step as VASP 6 writes it; `learned`: by its machine-learned force field."""
    free, cell = run.energy[f], run.cell[f]
    pos = ((run.pos[f] @ np.linalg.inv(cell)) % 1.0) @ cell
    basis = np.concatenate([cell, np.linalg.inv(cell).T], axis=1)
    vectors = "\n".join(
        "   " + "".join(f"{x:13.9f}" for x in row[:3]) + "   " + "".join(f"{x:13.9f}" for x in row[3:]) for row in basis
    )
    table = "\n".join(
        "".join(f"{x:13.5f}" for x in place) + "   " + "".join(f"{x:14.6f}" for x in force)
        for place, force in zip(pos, run.forces[f], strict=True)
    )
    loops = "" if learned else "".join(
        f"""
--------------------------------------- Iteration {f + 1:6d}({k:4d})  ---------------------------------------

  free energy    TOTEN  = {free + 0.1:18.8f} eV

  energy without entropy ={free + 0.1 + entropy:18.8f}  energy(sigma->0) ={free:18.8f}
"""
        for k in range(1, electronic + 1)
    )  # fmt: skip
    ended = "because EDIFF is reached" if converged else "EDIFF was not reached (unconverged)"
    ending = "" if learned else f"------------------------ aborting loop {ended} ------------------------"
    mark, head = (" (ML)", "  ML FREE ENERGIE") if learned else ("", "  FREE ENERGIE")
    total = f"  free  energy {'ML TOTEN' if learned else '  TOTEN'}  ={free:20.8f} eV"
    return f"""{loops}
{ending}

 VOLUME and BASIS-vectors are now :
 -----------------------------------------------------------------------------
  energy-cutoff  :      400.00
  volume of cell :{abs(np.linalg.det(cell)):12.2f}
      direct lattice vectors                 reciprocal lattice vectors
{vectors}

  length of vectors
     9.743894238  9.963220278  9.874040686     0.102679215  0.100431007  0.101301427

 POSITION                                       TOTAL-FORCE (eV/Angst){mark}
 -----------------------------------------------------------------------------------
{table}
 -----------------------------------------------------------------------------------
    total drift:                                0.001061     -0.000360      0.000160

{head} OF THE ION-ELECTRON SYSTEM (eV)
  ---------------------------------------------------
{total}

  energy  without entropy={free + entropy:17.8f}  energy(sigma->0) ={free + entropy / 2:17.8f}

  ENERGY OF THE ELECTRON-ION-THERMOSTAT SYSTEM (eV)
  ---------------------------------------------------
% ion-electron   TOTEN  ={free:18.6f}  see above
  kinetic energy EKIN   =         0.008168
  kin. lattice  EKIN_LAT=         0.000000  (temperature {temperature:7.2f} K)
  total energy   ETOTAL =       {free:.6f} eV
"""


def write_outcar(path: Path, run, electronic=None, **head):
    steps = [outcar_step(run, f, (electronic or {}).get(f, 3)) for f in range(run.n_frames)]
    path.write_text(outcar_head(run, **head) + "".join(steps), encoding="utf-8")
    return path


def write_dump(path: Path, run, keys=("x", "y", "z"), flags=False, element=True, stride=10, extra="", shuffle=0, origin=None):
    """A LAMMPS text dump of a trajectory whose cell is lower triangular; rows in random order."""
    random = np.random.default_rng(shuffle)
    corner = np.zeros(3) if origin is None else np.asarray(origin, float)
    types = [sorted(set(run.z.tolist())).index(a) + 1 for a in run.z.tolist()]
    out = []
    for f in range(run.n_frames):
        cell = run.cell[f]
        (lx, _, _), (xy, ly, _), (xz, yz, lz) = cell
        low = corner + np.array([min(0, xy, xz, xy + xz), min(0, yz), 0])
        high = corner + np.array([lx + max(0, xy, xz, xy + xz), ly + max(0, yz), lz])
        tilted = bool(np.any([xy, xz, yz]))
        bounds = "\n".join(
            f"{a:.16e} {b:.16e}" + (f" {t:.16e}" if tilted else "") for a, b, t in zip(low, high, (xy, xz, yz), strict=True)
        )
        fractional = run.pos[f] @ np.linalg.inv(cell)
        images = np.floor(fractional).astype(int)
        place = fractional if "u" in keys[0] else fractional - images
        place = place if keys[0].startswith("xs") else place @ cell + corner
        names = ["id", "element" if element else "type", *keys, *(("ix", "iy", "iz") if flags else ()), "fx", "fy", "fz"]
        out.append(
            f"{extra}ITEM: TIMESTEP\n{f * stride}\nITEM: NUMBER OF ATOMS\n{len(run.z)}\n"
            f"ITEM: BOX BOUNDS {'xy xz yz ' if tilted else ''}pp pp pp\n{bounds}\nITEM: ATOMS {' '.join(names)}\n"
        )
        for a in random.permutation(len(run.z)):
            words = [str(a + 1), symbol(int(run.z[a])) if element else str(types[a]), *(f"{x:.12g}" for x in place[a])]
            words += [str(i) for i in images[a]] if flags else []
            out.append(" ".join([*words, *(f"{x:.12g}" for x in run.forces[f, a])]) + "\n")
    path.write_text("".join(out), encoding="utf-8")
    return path
