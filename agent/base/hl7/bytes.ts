/** Bytes with a meaning in HL7 v2; none of them is part of a character in UTF-8, CP932, EUC-JP or ISO-2022-JP. */
export const CR = 0x0d;
export const LF = 0x0a;
export const ESC = 0x1b;
