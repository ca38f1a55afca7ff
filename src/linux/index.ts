/**
 * What Node lacks of Linux: direct system calls through koffi.
 *
 * Every call here takes microseconds, so it may run on the event loop; a failed call throws a `SystemError` whose `code`
 * is the errno name. Nothing here knows of pods, images or configuration.
 */
export {};
