"""What labels that are not scalp electrodes say about their channel's type.

In:  a label without electrode site ("EOG horizontal", "ECG ECG", "SaO2", "Event marker").
Out: a channel type, or None where the label says nothing.

Types: eeg, eog, ecg, emg, resp, ppg, temp, stim, misc. "misc" is a label that names something else
(oxygen saturation, heart rate, an auxiliary input); a label that names nothing is not in here.
The words are those of public EEG and sleep corpora (TUH, CHB-MIT, Siena, Sleep-EDF, SHHS, MESA,
MASS, HMC, CAP, ISRUC, UCDDB, PhysioNet 2018) and of the EDF+ and BIDS specifications.
"""

import re

_WORDS = {
    "stim": r"status|(event[ _]?)?markers?|mark\d*|trig(ger)?s?\d*|(patient )?events?|stim(ulus)?"
    r"|sti ?\d+|photic( ?ph)?|annotations?",
    "ecg": r"(ecg|ekg)\b.*|(ecg|ekg)[ _]?([lr]|\d+|(i|ii|iii)|v\d|av[rlf])?[+-]?",
    "eog": r"[hvlri]?eog\b.*|[hv]eo[glr]*|eog[ _]?([lrhv]|\d+)|(left|right) ?eye|[lr]oc"
    r"|(e[12])|(l[ul]e|lue|r[ua]e|rae|loe)",
    "emg": r"[lr]?emg\b.*|emg\d+|(sub)?mental(is)?|chin ?\d*|(left|right|[lr])?[ _]?legs?( ?[lr])?"
    r"|leg/?[lr]|[lr]leg|[lr]at ?\d*|(plm|tib(ial(is)?)?)\b.*|[lr] ?tib\d?",
    "resp": r"resp(iration)?\b.*|(oro-?)?nasal( pressure)?|(air ?)?flow\b.*|airflow|new ?air"
    r"|thor(ax|acic|aco?)?( res)?|torace|abd(o|omen|ominal)?( res)?|addome|chest|rib ?cage"
    r"|(nasal )?pres(s(ure)?)?|therm(istore?|ocouple)?|termistore|effort|ptaf"
    r"|cannula|cflow|flusso|resp\d",
    "temp": r"temp(erature)?\d*\b.*",
    "ppg": r"pleth\w*|plet|ppg\d*",
    "misc": r"(s[ap]o2|sao2|spo2|osat|o2 ?sat|sat)\b.*|ox ?stat(us)?|stat|hr|h\.r\.?|heart ?rate"
    r"|pulse( ?rate)?|pr|pos(ition|izione)?|body ?pos(ition)?|bodypos|light|snore|snoring|mic"
    r"|sound|gsr\d*|eda|dc ?\d+( ?-? ?dc)?|exg ?(channel )?\d+|erg(o)?[ -]?(\d+|left|right)?|ibi"
    r"|bursts|suppr|vns|acc(el)?[ _-]?[xyz]|gyro?[ _-]?[xyz]|bp|abp|etco2|co2|aux\d*|bip\d+|ref\d*"
    r"|ground|gnd|battery|x\d+|cpap",
}
_TYPES = {kind: re.compile(words, flags=re.IGNORECASE | re.ASCII) for kind, words in _WORDS.items()}

# Inputs of a polygraph amplifier ("POL ..."): the body electrode, marks and unnamed inputs.
_POLYGRAPH = re.compile(r"\$.*|e|bn\d|x\d+|dc ?\d+", flags=re.IGNORECASE)
_POLYGRAPH_TYPES = ("ecg", "emg", "eog", "resp", "stim", "misc")

BIDS_TYPES = {
    "EEG": "eeg",
    "EOG": "eog",
    "HEOG": "eog",
    "VEOG": "eog",
    "ECG": "ecg",
    "EMG": "emg",
    "ECOG": "ecog",
    "SEEG": "seeg",
    "DBS": "dbs",
    "RESP": "resp",
    "PPG": "ppg",
    "TEMP": "temp",
    "TRIG": "stim",
    "GSR": "misc",
    "EYEGAZE": "misc",
    "PUPIL": "misc",
    "AUDIO": "misc",
    "PD": "misc",
    "SYSCLOCK": "misc",
    "ADC": "misc",
    "DAC": "misc",
    "REF": "misc",
    "MISC": "misc",
}
"""Type by the `type` column of a BIDS channels table; other words are unknown."""


def type_of_words(text: str) -> str | None:
    """Return the type that the words of a label name, or None."""
    return next((kind for kind, words in _TYPES.items() if words.fullmatch(text)), None)


def type_of_polygraph_input(text: str) -> str | None:
    """Return the type of an input labelled "POL <text>", or None.

    Electrode-like names stay unknown: the same prefix is written before intracranial contacts.
    """
    if _POLYGRAPH.fullmatch(text):
        return "misc"
    kind = type_of_words(text)
    return kind if kind in _POLYGRAPH_TYPES else None
