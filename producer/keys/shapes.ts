/** Shapes shared by what is on disk and what comes over the line. */
import { z } from 'zod';

/**
 * A facility code, which becomes a certificate's CN and a folder's name: the ten digits of a Japanese medical
 * institution code, or whatever the producer agreed on, without anything a path could be made of.
 */
export const facilityCode = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/);

/** An Ed25519 public key (RFC 8037); other members of a JWK are dropped. */
export const publicJwkShape = z.object({
  kty: z.literal('OKP'),
  crv: z.literal('Ed25519'),
  x: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
});
