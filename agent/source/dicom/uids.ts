/** UIDs of PS3.4 and PS3.6 that decide something here. */

export const applicationContext = '1.2.840.10008.3.1.1.1';
export const verification = '1.2.840.10008.1.1';

export const implicitLittleEndian = '1.2.840.10008.1.2';
export const explicitLittleEndian = '1.2.840.10008.1.2.1';
export const deflatedExplicit = '1.2.840.10008.1.2.1.99';
export const explicitBigEndian = '1.2.840.10008.1.2.2';

/** Ours, from a random UUID (PS3.5 B.2). The same in every version, so that the Part 10 header never changes. */
export const implementationClassUid = '2.25.206170346188204213930247735401682317311';
export const implementationVersionName = 'KAKEHASHI';

/**
 * Services that are no storage, by the beginning of their abstract syntax. Everything else is taken for storage,
 * private classes too: one refused context (a report, a PDF) was seen to end the transfer of the whole study.
 *
 * Storage commitment above all: to confirm it would let a modality delete its only copy on our word.
 */
const notStorage = [
  '1.2.840.10008.1.3.10', // media directory
  '1.2.840.10008.1.9', // basic study content notification
  '1.2.840.10008.1.20', // storage commitment
  '1.2.840.10008.1.40', // procedural event logging
  '1.2.840.10008.1.42', // substance administration logging
  '1.2.840.10008.3.1.2', // patient, study, visit and procedure step management
  '1.2.840.10008.5.1.1', // print, media creation, display system
  '1.2.840.10008.5.1.4.1.2', // query and retrieve
  '1.2.840.10008.5.1.4.1.1.200', // storage management
  '1.2.840.10008.5.1.4.31', // modality worklist
  '1.2.840.10008.5.1.4.32', // general purpose worklist
  '1.2.840.10008.5.1.4.33', // instance availability notification
  '1.2.840.10008.5.1.4.34.4', // unified procedure step
  '1.2.840.10008.5.1.4.34.6', // unified procedure step
  '1.2.840.10008.5.1.4.37', // relevant patient information
  '1.2.840.10008.5.1.4.41', // product characteristics
  '1.2.840.10008.5.1.4.42', // substance approval
] as const;

export function isStorage(abstractSyntax: string): boolean {
  return !notStorage.some((root) => abstractSyntax === root || abstractSyntax.startsWith(`${root}.`));
}

/** Digits and dots; what real systems number wrongly (leading zeros) passes, for it is theirs and only copied. */
export function isUid(text: string): boolean {
  return /^[0-9][0-9.]{0,63}$/.test(text);
}
