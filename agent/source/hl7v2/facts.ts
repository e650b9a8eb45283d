/** The facts of a message that came over MLLP: what it says of itself, and by what key its sender knows it. */
import { type FactsOptions, readMessageFacts, type Unreadable } from '../../base/hl7/facts.ts';
import { field, type Header } from '../../base/hl7/header.ts';
import type { RecordFacts } from '../../model/record.ts';

/** One sender's control ids are unique among themselves (HL7 v2.5.1 2.14.9.10), so the sender is part of the key. */
export function nativeKeyOf(header: Header): string {
  return `${field(header, 3)}|${field(header, 4)}|${field(header, 10)}`;
}

export function readFacts(
  message: Buffer,
  header: Header,
  options: FactsOptions,
  unreadable?: Unreadable,
): RecordFacts {
  return { nativeKey: nativeKeyOf(header), route: 'mllp', ...readMessageFacts(message, header, options, unreadable) };
}
