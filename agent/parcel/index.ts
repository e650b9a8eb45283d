/** Parcels: packing records into one sealed file, and opening it at the other end. docs/parcel-format.md. */
export { hasRoom, parcelLimits } from './limits.ts';
export { laneSuffix, type ParcelFile, type RecordLine, type SubjectLine } from './manifest.ts';
export { type OpenedParcel, openParcel, removeQuarantines } from './open.ts';
export { packParcel, type PackedParcel, type ParcelEntry, type ParcelTrailer } from './pack.ts';
export { parseIdentities, parseRecipients } from './recipients.ts';
export { readStatement } from './statement.ts';
