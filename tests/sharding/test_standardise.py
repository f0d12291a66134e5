"""Channel labels, units, filters and positions of real corpora in their standard form."""

import mne
import numpy as np
import pytest

from physioscale.contract import UNITS_OF_TYPE
from physioscale.errors import InputError
from physioscale_sharding.standardise import (
    ElectrodeTable,
    Prefilter,
    locate,
    parse_prefilter,
    parse_unit,
    standard_name,
    standard_names,
)
from physioscale_sharding.standardise.sites import EARS, GRID, canonical_site

# label = site: electrodes as corpora spell them, with neither reference nor type in the label.
SITES = """
Fc5.=FC5 Fc3.=FC3 Fc1.=FC1 Fcz.=FCz Fc2.=FC2 Fc4.=FC4 Fc6.=FC6 C5..=C5 C3..=C3 C1..=C1 Cz..=Cz
C2..=C2 C4..=C4 C6..=C6 Cp5.=CP5 Cp3.=CP3 Cp1.=CP1 Cpz.=CPz Cp2.=CP2 Cp4.=CP4 Cp6.=CP6 Fp1.=Fp1
Fpz.=Fpz Fp2.=Fp2 Af7.=AF7 Af3.=AF3 Afz.=AFz Af4.=AF4 Af8.=AF8 F7..=F7 F5..=F5 F3..=F3 F1..=F1
Fz..=Fz F2..=F2 F4..=F4 F6..=F6 F8..=F8 Ft7.=FT7 Ft8.=FT8 T7..=T7 T8..=T8 T9..=T9 T10.=T10 Tp7.=TP7
Tp8.=TP8 P7..=P7 P5..=P5 P3..=P3 P1..=P1 Pz..=Pz P2..=P2 P4..=P4 P6..=P6 P8..=P8 Po7.=PO7 Po3.=PO3
Poz.=POz Po4.=PO4 Po8.=PO8 O1..=O1 Oz..=Oz O2..=O2 Iz..=Iz
FP1=Fp1 fp2=Fp2 FPZ=Fpz AFZ=AFz FCZ=FCz CPZ=CPz POZ=POz OZ=Oz T3=T7 T4=T8 T5=P7 T6=P8 t3=T7
AFp3h=AFp3h PPO10h=PPO10h FTT9h=FTT9h AFFz=AFFz OI1h=OI1h FFC5H=FFC5h P10=P10 PO10=PO10 A1=A1 A2=A2
M1=M1 m2=M2 Nz=Nz CB1=Cb1 CB2=Cb2 T1=T1 T2=T2
"""

# label; canonical name; type; reference; electrodes ("-": none)
LABELS = """
EEG FP1-REF; Fp1; eeg; REF; Fp1
EEG FP2-REF; Fp2; eeg; REF; Fp2
EEG T3-REF; T7; eeg; REF; T7
EEG T6-REF; P8; eeg; REF; P8
EEG CZ-REF; Cz; eeg; REF; Cz
EEG A1-REF; A1; eeg; REF; A1
EEG T1-REF; T1; eeg; REF; T1
EEG SP1-REF; Sp1; eeg; REF; Sp1
EEG PG2-LE; Pg2; eeg; LE; Pg2
EEG FP1-LE; Fp1; eeg; LE; Fp1
EEG O2-LE; O2; eeg; LE; O2
EEG F3-AR; F3; eeg; AR; F3
EEG NZ-REF; Nz; eeg; REF; Nz
EEG EKG1-REF; EKG1; ecg; REF; -
EEG EKG-LE; EKG; ecg; LE; -
ECG EKG-REF; EKG; ecg; REF; -
EEG LOC-REF; LOC; eog; REF; -
EEG ROC-LE; ROC; eog; LE; -
EMG-REF; EMG; emg; REF; -
PHOTIC-REF; PHOTIC; stim; REF; -
PHOTIC PH; PHOTIC PH; stim; -; -
RESP ABDOMEN-REF; RESP ABDOMEN; resp; REF; -
PULSE RATE; PULSE RATE; misc; -; -
IBI; IBI; misc; -; -
BURSTS; BURSTS; misc; -; -
SUPPR; SUPPR; misc; -; -
DC1-DC; DC1-DC; misc; -; -
EEG C3P-REF; EEG C3P-REF; unknown; -; -
EEG 26-REF; EEG 26-REF; unknown; -; -
EEG LUC-LE; EEG LUC-LE; unknown; -; -
FP1-F7; Fp1-F7; eeg; -; Fp1 F7
F7-T7; F7-T7; eeg; -; F7 T7
T3-T5; T7-P7; eeg; -; T7 P7
T8-P8; T8-P8; eeg; -; T8 P8
FZ-CZ; Fz-Cz; eeg; -; Fz Cz
FT9-FT10; FT9-FT10; eeg; -; FT9 FT10
T7-FT9; T7-FT9; eeg; -; T7 FT9
C3-CS2; C3; eeg; CS2; C3
VNS; VNS; misc; -; -
LOC-ROC; LOC-ROC; eog; -; -
LUE-RAE; LUE-RAE; eog; -; -
EKG1-EKG2; EKG1-EKG2; ecg; -; -
EKG1-CHIN; EKG1-CHIN; unknown; -; -
T8-P8-0; T8-P8-0; unknown; -; -
Cz-Cz; Cz-Cz; unknown; -; -
EEG Fpz-Cz; Fpz-Cz; eeg; -; Fpz Cz
EEG Pz-Oz; Pz-Oz; eeg; -; Pz Oz
EOG horizontal; EOG horizontal; eog; -; -
Resp oro-nasal; Resp oro-nasal; resp; -; -
EMG submental; EMG submental; emg; -; -
Temp rectal; Temp rectal; temp; -; -
Event marker; Event marker; stim; -; -
EEG; EEG; eeg; -; -
EEG(sec); EEG(sec); eeg; -; -
EEG1; EEG1; eeg; -; -
EOG(L); EOG(L); eog; -; -
EOG(R); EOG(R); eog; -; -
EOG-L; EOG L; eog; -; -
EMG; EMG; emg; -; -
ECG; ECG; ecg; -; -
SaO2; SaO2; misc; -; -
SpO2; SpO2; misc; -; -
OX stat; OX stat; misc; -; -
H.R.; H.R.; misc; -; -
HR; HR; misc; -; -
THOR RES; THOR RES; resp; -; -
ABDO RES; ABDO RES; resp; -; -
NEW AIR; NEW AIR; resp; -; -
AIRFLOW; AIRFLOW; resp; -; -
Airflow-Ref; Airflow; resp; REF; -
POSITION; POSITION; misc; -; -
LIGHT; LIGHT; misc; -; -
Leg; Leg; emg; -; -
Snore; Snore; misc; -; -
Thor; Thor; resp; -; -
Abdo; Abdo; resp; -; -
Flow; Flow; resp; -; -
Pres; Pres; resp; -; -
Therm; Therm; resp; -; -
Pleth; Pleth; ppg; -; -
EKG; EKG; ecg; -; -
Pos; Pos; misc; -; -
EEG Fp1-CLE; Fp1; eeg; CLE; Fp1
EEG C3-LER; C3; eeg; LER; C3
EOG Left Horiz; EOG Left Horiz; eog; -; -
EMG Chin1; EMG Chin1; emg; -; -
ECG ECGI; ECG ECGI; ecg; -; -
Resp Belt; Resp Belt; resp; -; -
EEG F4-M1; F4; eeg; M1; F4
EEG C3-M2; C3; eeg; M2; C3
EOG E1-M2; EOG E1; eog; M2; -
E1-M2; E1; eog; M2; -
EMG chin; EMG chin; emg; -; -
F3-A2; F3; eeg; A2; F3
O1-A2; O1; eeg; A2; O1
LOC-A2; LOC; eog; A2; -
ROC-A1; ROC; eog; A1; -
X1; X1; misc; -; -
Chin1-Chin2; Chin1-Chin2; emg; -; -
ABD; ABD; resp; -; -
CHEST; CHEST; resp; -; -
Lefteye; Lefteye; eog; -; -
RightEye; RightEye; eog; -; -
C3A2; C3; eeg; A2; C3
C4A1; C4; eeg; A1; C4
ribcage; ribcage; resp; -; -
BodyPos; BodyPos; misc; -; -
ROC-LOC; ROC-LOC; eog; -; -
EMG1-EMG2; EMG1-EMG2; emg; -; -
ECG1-ECG2; ECG1-ECG2; ecg; -; -
DX1-DX2; DX1-DX2; unknown; -; -
TERMISTORE; TERMISTORE; resp; -; -
TORACE; TORACE; resp; -; -
ADDOME; ADDOME; resp; -; -
Posizione; Posizione; misc; -; -
Fp2-F4; Fp2-F4; eeg; -; Fp2 F4
F8-T4; F8-T8; eeg; -; F8 T8
TAG; TAG; unknown; -; -
EEG Fp1; Fp1; eeg; -; Fp1
EEG T5; P7; eeg; -; P7
EEG Cp5; CP5; eeg; -; CP5
EEG A2-A1; A2-A1; eeg; -; A2 A1
ECG ECG; ECG; ecg; -; -
EKG EKG; EKG; ecg; -; -
SPO2; SPO2; misc; -; -
MK; MK; unknown; -; -
1; 1; unknown; -; -
EEG F1-Ref; F1; eeg; REF; F1
EEG Fp2-Ref; Fp2; eeg; REF; Fp2
POL E; E; misc; -; -
POL X1; X1; misc; -; -
POL $A2; $A2; misc; -; -
POL DC01; DC01; misc; -; -
POL BN1; BN1; misc; -; -
POL Mark1; Mark1; stim; -; -
POL EKG1; EKG1; ecg; -; -
POL G1; G1; unknown; -; -
POL AST4; AST4; unknown; -; -
POL; POL; unknown; -; -
DC01; DC01; misc; -; -
Status; Status; stim; -; -
EXG1; EXG1; misc; -; -
EXG Channel 0; EXG Channel 0; misc; -; -
GSR1; GSR1; misc; -; -
Erg1; Erg1; misc; -; -
Ergo-Left; Ergo-Left; misc; -; -
Plet; Plet; ppg; -; -
Resp; Resp; resp; -; -
Temp; Temp; temp; -; -
LEOG; LEOG; eog; -; -
IEOG; IEOG; eog; -; -
HEOG; HEOG; eog; -; -
VEO; VEO; eog; -; -
EOG-left; EOG left; eog; -; -
EEG-Fz; Fz; eeg; -; Fz
EEG-0; EEG-0; unknown; -; -
EEG_Fp1; Fp1; eeg; -; Fp1
EEG:Fp1; Fp1; eeg; -; Fp1
EEG Fp1 - REF; Fp1; eeg; REF; Fp1
EEG FP1 REF; Fp1; eeg; REF; Fp1
eeg fp2-ref; Fp2; eeg; REF; Fp2
EEG Fp1-AVG; Fp1; eeg; AVG; Fp1
EEG Fp1-Ave; Fp1; eeg; AVG; Fp1
C3-A1A2; C3; eeg; A1+A2; C3
EEG C3-(A1+A2)/2; C3; eeg; A1+A2; C3
C4-M1M2; C4; eeg; M1+M2; C4
F3:A2; F3; eeg; A2; F3
O1M2; O1; eeg; M2; O1
Fp1-Cz; Fp1-Cz; eeg; -; Fp1 Cz
STI 014; STI 014; stim; -; -
Trigger; Trigger; stim; -; -
LLEG; LLEG; emg; -; -
Leg/L; Leg/L; emg; -; -
tibial; tibial; emg; -; -
I; I; unknown; -; -
V1; V1; unknown; -; -
aVR; aVR; unknown; -; -
squarewave; squarewave; unknown; -; -
sine 8.5 Hz; sine 8.5 Hz; unknown; -; -
noise; noise; unknown; -; -
EEG Cz-G1; EEG Cz-G1; unknown; -; -
Fp1'; Fp1'; unknown; -; -
-; -; unknown; -; -
"""

SITE_CASES = [tuple(pair.split("=")) for pair in SITES.split()]
LABEL_CASES = [tuple(row.split("; ")) for row in LABELS.strip().splitlines()]


def test_the_tables_hold_200_different_labels() -> None:
    labels = [case[0] for case in (*SITE_CASES, *LABEL_CASES)]
    assert len(set(labels)) == len(labels) >= 200


@pytest.mark.parametrize(("label", "site"), SITE_CASES)
def test_a_site_is_found_however_it_is_written(label: str, site: str) -> None:
    found = standard_name(label)
    assert (found.source, found.name, found.type) == (label, site, "eeg")
    assert (found.reference, found.electrodes) == (None, (site,))


@pytest.mark.parametrize(("label", "name", "kind", "reference", "electrodes"), LABEL_CASES)
def test_a_label_means_what_the_table_says(
    label: str, name: str, kind: str, reference: str, electrodes: str
) -> None:
    found = standard_name(label)
    assert found.source == label
    assert (found.name, found.type) == (name, kind)
    assert found.reference == (None if reference == "-" else reference)
    assert found.electrodes == (() if electrodes == "-" else tuple(electrodes.split()))
    assert bool(found.remark) == (kind == "unknown")


@pytest.mark.parametrize("label", ["", "   ", ".", "\u00b5", "\u2161"])
def test_a_label_that_says_nothing_is_unknown(label: str) -> None:
    assert standard_name(label).type == "unknown"


def test_types_are_those_of_shards_or_are_never_stored() -> None:
    types = {case[2] for case in LABEL_CASES}
    assert types - {"temp", "stim", "unknown"} <= set(UNITS_OF_TYPE)


def test_the_grid_is_the_one_that_mne_places() -> None:
    placed = set(mne.channels.make_standard_montage("colin27_1005").ch_names)
    assert set(GRID) == placed - {*EARS, "T3", "T4", "T5", "T6"}
    assert len(GRID) == len(set(GRID)) == 335
    assert all(canonical_site(name.upper()) == name for name in GRID)


# --- device labels ----------------------------------------------------------------------------


def test_device_labels_mean_nothing_without_their_cap() -> None:
    labels = ["A1", "A2", "A3", "B7", "C3", "F4", "P3", "EXG1", "Status"]
    found = standard_names(labels)
    assert [name.type for name in found] == ["unknown"] * 7 + ["misc", "stim"]
    assert found[4].remark == "a device's own label; name the cap"
    assert found[4].electrodes == ()


def test_ears_and_central_sites_stay_what_they_are_beside_scalp_sites() -> None:
    found = standard_names(["Fp1", "C3", "A1", "A2", "EEG A1-REF"])
    assert [name.name for name in found] == ["Fp1", "C3", "A1", "A2", "A1"]
    assert {name.type for name in found} == {"eeg"}


def test_egi_labels_are_no_eye_electrodes() -> None:
    assert [name.type for name in standard_names(["E1", "E2", "C3"])] == ["eog", "eog", "eeg"]
    assert [name.type for name in standard_names(["E1", "E2", "E3"])] == ["unknown"] * 3
    net = standard_names(["E1", "E129", "Status"], cap="GSN-HydroCel-129")
    assert [name.name for name in net[:1]] == ["GSN-HydroCel-129:E1"]
    assert net[2].type == "stim"


def test_a_cap_of_64_puts_outputs_on_sites() -> None:
    labels = [f"{letter}{number}" for letter in "AB" for number in range(1, 33)]
    found = standard_names([*labels, "Status"], cap="biosemi64")
    names = dict(zip(labels, (name.name for name in found), strict=False))
    # From BioSemi's cap sheet: connector A is the left half and midline, B the right half.
    expected = {"A1": "Fp1", "A2": "AF7", "A15": "T7", "A27": "O1", "A32": "CPz", "B1": "Fpz"}
    expected |= {"B16": "Cz", "B20": "T8", "B32": "O2", "A13": "C3"}
    assert {label: names[label] for label in expected} == expected
    assert len(set(names.values())) == 64
    assert found[-1].type == "stim"


def test_a_cap_of_128_keeps_its_own_names_and_places() -> None:
    [first, central, site] = standard_names(["A1", "C3", "Fp1"], cap="biosemi128")
    assert (first.name, central.name, site.name) == ("biosemi128:A1", "biosemi128:C3", "Fp1")
    places = locate([first, central, site])
    assert places.frame == "biosemi128"
    own = mne.channels.make_standard_montage("biosemi128").get_positions()["ch_pos"]
    np.testing.assert_allclose(np.array(places.xyz_m[1]), own["C3"])
    assert places.xyz_m[2] is None
    assert places.absent == ("Fp1",)


def test_an_unknown_cap_is_refused_with_the_near_name() -> None:
    with pytest.raises(InputError, match=r"montage 'biosemi46': .*did you mean 'biosemi64'"):
        standard_names(["A1"], cap="biosemi46")


# --- positions --------------------------------------------------------------------------------


def test_positions_are_metres_in_the_montages_own_frame() -> None:
    places = locate(standard_names(["EEG C3-REF", "T3", "ECG ECG", "Nz"]))
    assert places.frame == "colin27_1005"
    assert places.xyz_m[0] == pytest.approx((-0.0654, -0.0116, 0.0644), abs=1e-4)
    own = mne.channels.make_standard_montage("colin27_1005").get_positions()["ch_pos"]
    np.testing.assert_allclose(np.array(places.xyz_m[1]), own["T7"])
    assert places.xyz_m[2:] == (None, None)
    assert places.absent == ("Nz",)


def test_a_derivation_lies_at_the_midpoint() -> None:
    places = locate(standard_names(["EEG Fpz-Cz", "Fpz", "Cz", "Cz-Nz"]))
    placed = np.array(places.xyz_m[:3], dtype=np.float64)
    np.testing.assert_allclose(placed[0], (placed[1] + placed[2]) / 2)
    assert places.xyz_m[3] is None
    assert places.absent == ("Cz-Nz",)


def test_measured_positions_come_first_and_are_never_mixed_with_a_montage() -> None:
    measured = ElectrodeTable(
        frame="CapTrak", xyz_m={"Fp1": (0.1, 0.2, 0.3), "EEG Cz": (0.0, 0.0, 0.2), "Fz": (0, 0, 1)}
    )
    channels = standard_names(["EEG Fp1-REF", "EEG Cz", "Pz", "Fz-Fp1"])
    places = locate(channels, measured=measured)
    assert places.frame == "CapTrak"
    assert places.xyz_m == ((0.1, 0.2, 0.3), (0.0, 0.0, 0.2), None, (0.05, 0.1, 0.65))
    assert places.absent == ("Pz",)


def test_an_unknown_montage_is_refused() -> None:
    with pytest.raises(InputError, match=r"montage 'colin': a name that mne .* does not know"):
        locate(standard_names(["Cz"]), montage="colin")


# --- units and filters ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "factor"),
    [
        *((text, 1e-6) for text in ("uV", "uv", "UV", "\u00b5V", "\u03bcV", " u V ", "uVolt")),
        *((text, 1e-6) for text in ("microV", "microvolts", "microvolt")),
        *((text, 1e-3) for text in ("mV", "mv", "millivolt", "m V")),
        *((text, 1.0) for text in ("V", "v", "Volt", "volts")),
        *((text, 1e-9) for text in ("nV", "nv", "nanovolts")),
    ],
)
def test_voltages_are_volts_times_a_factor(text: str, factor: float) -> None:
    unit = parse_unit(text)
    assert (unit.source, unit.symbol, unit.factor) == (text, "V", factor)
    assert unit.is_voltage


@pytest.mark.parametrize(
    ("text", "symbol"),
    [
        ("", "unknown"),
        ("-", "unknown"),
        ("MV", "unknown"),
        ("uVV", "unknown"),
        ("0.1uV", "unknown"),
        ("V/m", "unknown"),
        ("n/a", "unknown"),
        ("Boolean", "boolean"),
        ("DegC", "degC"),
        ("\u00b0C", "degC"),
        ("%", "%"),
        ("BPM", "bpm"),
    ],
)
def test_other_units_are_named_and_never_taken_for_volts(text: str, symbol: str) -> None:
    unit = parse_unit(text)
    assert (unit.symbol, unit.factor) == (symbol, 1.0)
    assert not unit.is_voltage


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Prefilter()),
        ("No filtering", Prefilter()),
        ("HP:0.5Hz LP:100Hz [enhanced cassette BW]", Prefilter(0.5, 100.0)),
        ("HP:0.500000Hz LP:45.000000Hz RF:50Hz", Prefilter(0.5, 45.0, 50.0)),
        ("HP: DC; LP: 417 Hz", Prefilter(0.0, 417.0)),
        ("HP:0Hz LP:0Hz N:0Hz", Prefilter(0.0)),
        ("HP:0.03Hz LP:0.9Hz", Prefilter(0.03, 0.9)),
        ("HP:16Hz Rectification LP:0.7Hz", Prefilter(16.0, 0.7)),
        ("HP:0,1Hz LP:1kHz N:60Hz", Prefilter(0.1, 1000.0, 60.0)),
        ("Hold during 2 seconds", Prefilter()),
    ],
)
def test_prefilter_texts_give_cut_offs_in_hz(text: str, expected: Prefilter) -> None:
    assert parse_prefilter(text) == expected
