import packageJson from '../../package.json' with { type: 'json' };

/** As in parcels, heartbeats and `kakehashi version`. */
export const version = packageJson.version;
export const software = `kakehashi/${version}`;
