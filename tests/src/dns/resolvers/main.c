/* Prints the addresses of each argument, as the C library finds them: one line each, sorted by nobody. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int main(int count, char **names) {
    for (int at = 1; at < count; at++) {
        struct addrinfo hints, *found;
        memset(&hints, 0, sizeof hints);
        hints.ai_socktype = SOCK_STREAM;
        printf("%s", names[at]);
        if (getaddrinfo(names[at], NULL, &hints, &found) == 0) {
            for (struct addrinfo *each = found; each; each = each->ai_next) {
                char address[64];
                getnameinfo(each->ai_addr, each->ai_addrlen, address, sizeof address, NULL, 0, NI_NUMERICHOST);
                printf(" %s", address);
            }
            freeaddrinfo(found);
        }
        printf("\n");
    }
    return 0;
}
